/** Loopback ranks whose sends wait for their receiver, as sends of other transports may. */
import type { Communicator } from '@realhf/api';
import { loopbackCommunicators } from '@realhf/comm';

/** Communicators of `size` ranks; a send resolves when its message has been received. `onSend` counts them. */
export function blockingCommunicators(
  size: number,
  timeoutMs: number,
  onSend: () => void = () => undefined,
): Communicator[] {
  const data = loopbackCommunicators(size, { timeoutMs });
  const receipts = loopbackCommunicators(size, { timeoutMs });
  return data.map((comm, r) => blocking(comm, receipts[r]!, onSend));
}

function blocking(data: Communicator, receipts: Communicator, onSend: () => void): Communicator {
  return {
    rank: data.rank,
    size: data.size,
    async send(to, x) {
      onSend();
      await data.send(to, x);
      await receipts.recv(to, new Uint32Array(1));
    },
    async recv(from, into) {
      await data.recv(from, into);
      await receipts.send(from, new Uint32Array(1));
    },
    broadcast: (x, root) => data.broadcast(x, root),
    allReduce: (x, op) => data.allReduce(x, op),
    allGather: (x, into) => data.allGather(x, into),
    reduceScatter: (x, into) => data.reduceScatter(x, into),
    barrier: () => data.barrier(),
    group(ranks) {
      const [a, b] = [data.group(ranks), receipts.group(ranks)];
      return a && b && blocking(a, b, onSend);
    },
    async close() {
      await data.close();
      await receipts.close();
    },
  };
}
