/**
 * Collectives on device tensors, staged through the host: read, communicate, write. The only place that does so; a
 * device transport replaces it through ParallelGroups.tensors.
 */
import type { Communicator, Ops, ParallelGroups, Tensor, TensorCommunicator } from '@realhf/api';
import type { Axis } from './topology.js';

type Host = Float32Array | Int32Array;
type HostAccess = Pick<Ops, 'read' | 'readInts' | 'write'>;

/** TensorCommunicator over any Communicator. */
export function stagedCollectives(comm: Communicator, ops: HostAccess): TensorCommunicator {
  const floats = (t: Tensor) => t.dtype === 'f32';
  const read = (t: Tensor): Promise<Host> => (floats(t) ? ops.read(t) : ops.readInts(t));
  const room = (t: Tensor): Host => (floats(t) ? new Float32Array(t.size) : new Int32Array(t.size));
  return {
    rank: comm.rank,
    size: comm.size,
    async send(to, t) {
      await comm.send(to, await read(t));
    },
    async recv(from, into) {
      const host = room(into);
      await comm.recv(from, host);
      ops.write(into, host);
    },
    async broadcast(t, root) {
      const host = comm.rank === root ? await read(t) : room(t);
      await comm.broadcast(host, root);
      if (comm.rank !== root) ops.write(t, host);
    },
    async allReduce(t) {
      const host = await ops.read(t);
      await comm.allReduce(host);
      ops.write(t, host);
    },
    async allGather(t, into) {
      const all = room(into);
      await comm.allGather(await read(t), all);
      ops.write(into, all);
    },
    async reduceScatter(t, into) {
      const mine = new Float32Array(into.size);
      await comm.reduceScatter(await ops.read(t), mine);
      ops.write(into, mine);
    },
  };
}

/** This rank's group along `axis` on device tensors; undefined where it is alone. */
export function tensorGroup(
  groups: ParallelGroups,
  axis: Axis,
  ops: HostAccess,
): TensorCommunicator | undefined {
  const comm = groups[axis];
  if (!comm || comm.size === 1) return undefined;
  return groups.tensors?.[axis] ?? stagedCollectives(comm, ops);
}
