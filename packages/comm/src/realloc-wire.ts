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

/** Strictly one after another, in the order of the plan, as a device's own queue wants it. */
export function deviceWire(tensors: TensorCommunicator): ReallocWire {
  let last: Promise<void> = Promise.resolve();
  const inTurn = (step: () => Promise<void>): Promise<void> => {
    last = last.then(step);
    return last;
  };
  return {
    send: (to, message) => inTurn(() => tensors.send(to, message)),
    recv: (from, message, next) =>
      inTurn(async () => {
        await tensors.recv(from, message);
        if (next !== undefined) await tensors.send(next, message);
      }),
  };
}
