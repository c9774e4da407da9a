/** Ranks of a socket communicator in one process, for tests. */
import type { Communicator } from '@realhf/api';
import { socketCommunicator } from '../node/socket-communicator.js';
import type { SocketCommunicatorOptions } from '../node/socket-communicator.js';

export const secret = 'sixteen bytes or more';

/** All ranks, connected; `options` go to each. */
export function socketWorld(
  size: number,
  options: Pick<SocketCommunicatorOptions, 'nameResolve'> & Partial<SocketCommunicatorOptions>,
): Promise<Communicator[]> {
  const ranks = Array.from({ length: size }, (_, rank) => rank);
  return Promise.all(
    ranks.map((rank) =>
      socketCommunicator({ prefix: 'test/world', secret, ...options, rank, size }),
    ),
  );
}

/** What the end of a process does to its sockets. */
export function breakConnections(comm: Communicator): void {
  (comm as unknown as { mesh: { destroy(): void } }).mesh.destroy();
}
