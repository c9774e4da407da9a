/**
 * How a reallocation's messages travel: through the host over any Communicator, or from device memory to device memory
 * over a TensorCommunicator. Calls of one rank come in the order of the plan, and messages between two ranks stay in it.
 */
import type { Communicator, Ops, Tensor, TensorCommunicator } from '@realhf/api';

/** Several calls may be under way at once. */
export interface ReallocWire {
  /** Resolves when `message` may be overwritten. */
  send(to: number, message: Tensor): Promise<void>;
  /** Fills `message`, and passes it on to `next` if there is one; resolves when both are done. */
  recv(from: number, message: Tensor, next: number | undefined): Promise<void>;
}

/** Device → host → device. A message that is passed on goes from host memory. Lanes to different peers are independent. */
export function hostWire(comm: Communicator, ops: Ops): ReallocWire {
  const lanes = {
    out: new Map<number, Promise<unknown>>(),
    in: new Map<number, Promise<unknown>>(),
  };
  const inTurn = (
    lane: Map<number, Promise<unknown>>,
    peer: number,
    ready: Promise<unknown>,
    step: () => Promise<void>,
  ): Promise<void> => {
    const mine = Promise.all([lane.get(peer), ready]).then(step);
    lane.set(peer, mine);
    return mine;
  };
  return {
    send(to, message) {
      const host = message.dtype === 'f32' ? ops.read(message) : ops.readInts(message);
      return inTurn(lanes.out, to, host, async () => comm.send(to, await host));
    },
    async recv(from, message, next) {
      const { size } = message;
      const host = message.dtype === 'f32' ? new Float32Array(size) : new Int32Array(size);
      const got = inTurn(lanes.in, from, Promise.resolve(), () => comm.recv(from, host));
      const written = got.then(() => {
        ops.write(message, host);
      });
      const passed =
        next === undefined ? got : inTurn(lanes.out, next, got, () => comm.send(next, host));
      await Promise.all([written, passed]);
    },
  };
}

/**
 * In the order of the plan, as a device's own queue wants it. Messages wait together, so that a transport may have them
 * travel at once, both ways; one that is passed on has the wire to itself, since what follows must not overtake it.
 */
export function deviceWire(tensors: TensorCommunicator): ReallocWire {
  let gate: Promise<unknown> = Promise.resolve();
  const underWay = new Set<Promise<void>>();
  const together = (step: () => Promise<void>): Promise<void> => {
    const mine = gate.then(step);
    underWay.add(mine);
    const end = () => underWay.delete(mine);
    mine.then(end, end);
    return mine;
  };
  return {
    send: (to, message) => together(() => tensors.send(to, message)),
    recv(from, message, next) {
      if (next === undefined) return together(() => tensors.recv(from, message));
      const mine = Promise.all([gate, ...underWay]).then(async () => {
        await tensors.recv(from, message);
        await tensors.send(next, message);
      });
      gate = mine;
      return mine;
    },
  };
}
