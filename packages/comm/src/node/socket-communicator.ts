/**
 * Communicators over TCP, one process a rank or several ranks in one process. Every rank is connected with every
 * other before `socketCommunicator` returns, so the death of any is known to all. Traffic is not encrypted.
 */
import { CommError, ConfigError } from '@realhf/api';
import type { Communicator } from '@realhf/api';
import type { NameResolve } from '../name-resolve/name-resolve.js';
import { connectMesh } from './socket-connect.js';
import { SocketGroup } from './socket-group.js';
import { Mesh } from './socket-mesh.js';

/** How a rank finds its peers. */
export interface SocketCommunicatorOptions {
  readonly rank: number;
  readonly size: number;
  /** Ranks publish their addresses here, under `prefix/rank`, until all are connected. */
  readonly nameResolve: NameResolve;
  /** The same on all ranks, different for every communicator. */
  readonly prefix: string;
  /** Of this run, the same on all ranks, at least 16 bytes: a peer that doesn't know it is refused. */
  readonly secret: string | Uint8Array;
  /** Milliseconds without progress after which an operation, or connecting, fails. Default 60,000. */
  readonly timeoutMs?: number;
  /** The address of this machine where the rank listens and where its peers reach it. Default 127.0.0.1. */
  readonly host?: string;
}

/**
 * This rank's communicator, once all ranks are connected. Throws ConfigError for bad options, CommError where peers
 * don't come in time, don't know the secret, or die meanwhile.
 */
export async function socketCommunicator(
  options: SocketCommunicatorOptions,
): Promise<Communicator> {
  const { rank, size, prefix, secret, timeoutMs = 60_000, host = '127.0.0.1' } = options;
  if (!Number.isInteger(size) || size < 1 || size > 65_535)
    throw new ConfigError(`${size} ranks asked; a communicator has 1 to 65,535`);
  if (!Number.isInteger(rank) || rank < 0 || rank >= size)
    throw new ConfigError(`rank ${rank} is outside 0…${size - 1}`);
  if (Buffer.byteLength(secret) < 16)
    throw new ConfigError(
      `a secret of ${Buffer.byteLength(secret)} bytes can be guessed; use at least 16 random ones`,
    );
  const mesh = new Mesh(rank, size);
  const group = new SocketGroup(
    mesh,
    timeoutMs,
    mesh.links.map((l) => l.rank),
    '',
  );
  const place = { rank, size, prefix, secret, timeoutMs, host, names: options.nameResolve };
  try {
    await connectMesh(mesh, place);
    // Between the last connection and now a peer may have died.
    if (mesh.failure !== undefined) throw new CommError(`rank ${rank}: ${mesh.failure}`);
    return group;
  } catch (e) {
    mesh.destroy();
    throw e;
  }
}
