/**
 * Making the mesh: every rank listens, says where under `prefix/rank`, and dials every other. Both ends of every
 * connection prove that they know the run's secret before anything else is read; strangers get a fixed number of
 * bytes, a short time and a limited number of places.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

import { CommError } from '@realhf/api';
import type { NameResolve } from '../name-resolve/name-resolve.js';
import {
  answer,
  ANSWER_BYTES,
  hello,
  HELLO_BYTES,
  judge,
  readHello,
  readVerdict,
  VERDICT_BYTES,
} from './socket-handshake.js';
import type { Identity } from './socket-handshake.js';
import type { Mesh } from './socket-mesh.js';
import { FrameReader } from './socket-reader.js';

export interface Place extends Identity {
  readonly rank: number;
  /** Where this rank listens and where its peers find it. */
  readonly host: string;
  readonly names: NameResolve;
  readonly timeoutMs: number;
}

/** Connections whose other end hasn't said who it is. */
const STRANGERS = 64;
const HANDSHAKE_MS = 10_000;
const RETRY_MS = 50;

/** Wires `mesh` up. CommError where peers don't come in time, or don't share secret, prefix and size. */
export async function connectMesh(mesh: Mesh, place: Place): Promise<void> {
  const name = `${place.prefix}/${place.rank}`;
  const refused: string[] = [];
  const stop = new AbortController();
  let changed: () => void = () => undefined;
  const strangers = new Set<Socket>();
  const server = listen(mesh, place, refused, strangers, () => {
    changed();
  });
  try {
    await listening(server, place.host);
    const { port } = server.address() as AddressInfo;
    const host = place.host.includes(':') ? `[${place.host}]` : place.host;
    await place.names.add(name, `tcp://${host}:${port}`, { replace: true });
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => {
          reject(late(mesh, place, refused));
        },
        Math.min(place.timeoutMs, 2 ** 31 - 1),
      );
      stop.signal.addEventListener('abort', () => {
        clearTimeout(timer);
      });
      changed = () => {
        if (missing(mesh).length === 0) resolve();
      };
      mesh.onFailure = (why) => {
        reject(new CommError(`rank ${place.rank} of ${place.size} connects: ${why}`));
      };
      for (const peer of others(mesh))
        dialUntil(mesh, place, peer, refused, stop.signal).then(changed, reject);
      changed();
    });
    // Every peer has dialled this rank: nobody looks for its address any more.
    await place.names.delete(name);
  } finally {
    stop.abort();
    mesh.onFailure = () => undefined;
    server.close();
    for (const socket of strangers) socket.destroy();
  }
}

function others(mesh: Mesh): number[] {
  return mesh.links.map((l) => l.rank).filter((r) => r !== mesh.rank);
}

function missing(mesh: Mesh): number[] {
  return others(mesh).filter((r) => !mesh.links[r]!.in || !mesh.links[r]!.out);
}

function late(mesh: Mesh, place: Place, refused: readonly string[]): CommError {
  const why = refused.length > 0 ? `; of what came, ${refused.slice(-4).join('; ')}` : '';
  return new CommError(
    `rank ${place.rank} of ${place.size} connects: no connection with rank ${missing(mesh).join(', ')} of '${place.prefix}' in ${place.timeoutMs} ms${why}; did they start?`,
  );
}

async function listening(server: Server, host: string): Promise<void> {
  server.listen({ host, port: 0 });
  try {
    await once(server, 'listening');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommError(`can't listen on '${host}': ${why}; give an address of this machine`, {
      cause,
    });
  }
}

/** The listening side: challenge, judgement, then the connection is the mesh's. */
function listen(
  mesh: Mesh,
  place: Place,
  refused: string[],
  strangers: Set<Socket>,
  welcomed: () => void,
): Server {
  return createServer({ noDelay: true, keepAlive: true }, (socket) => {
    if (strangers.size >= STRANGERS) {
      socket.destroy();
      return;
    }
    strangers.add(socket);
    const nonce = randomBytes(32);
    const from = socket.remoteAddress ?? 'an unknown host';
    socket.on('error', () => undefined);
    socket.once('close', () => {
      strangers.delete(socket);
    });
    socket.write(hello(nonce));
    collect(socket, ANSWER_BYTES, (bytes) => {
      const { verdict, rank, reply } = judge(place, place.rank, nonce, bytes, (r) => {
        return mesh.links[r]!.out === undefined;
      });
      if (verdict === 'welcome') {
        strangers.delete(socket);
        mesh.attachOut(rank, socket);
        socket.write(reply);
        welcomed();
      } else {
        refused.push(`one from ${from} was refused: ${verdict}`);
        socket.end(reply);
      }
    });
  });
}

/** Calls `whole` with the first `n` bytes of a stranger, which may send no more than them, in time. */
function collect(socket: Socket, n: number, whole: (bytes: Buffer) => void): void {
  const bytes = Buffer.alloc(n);
  let at = 0;
  const timer = setTimeout(() => socket.destroy(), HANDSHAKE_MS);
  socket.once('close', () => {
    clearTimeout(timer);
  });
  socket.on('data', (chunk: Buffer) => {
    if (at + chunk.length > n) {
      socket.destroy();
      return;
    }
    at += chunk.copy(bytes, at);
    if (at < n) return;
    clearTimeout(timer);
    socket.removeAllListeners('data');
    whole(bytes);
  });
}

/** Dials `peer` where its name says, again while nothing answers there; throws where it refuses us. */
async function dialUntil(
  mesh: Mesh,
  place: Place,
  peer: number,
  refused: string[],
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const address = await addressOf(place, peer);
    if (address === undefined || signal.aborted) return;
    const outcome = await dial(mesh, place, peer, address);
    if (outcome === 'welcome') return;
    if (outcome === 'wrong secret' || outcome === 'wrong place') {
      const what =
        outcome === 'wrong place'
          ? `it isn't rank ${peer} of ${place.size}, or rank ${place.rank} connects twice`
          : 'secret or prefix are not the same on both sides';
      throw new CommError(
        `rank ${place.rank} of ${place.size} connects: rank ${peer} at ${address} refused it: ${what}`,
      );
    }
    refused.push(`${address}, the name of rank ${peer}, ${outcome}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** undefined where the name doesn't come in time: the mesh's own time-out says so with all that are missing. */
async function addressOf(place: Place, peer: number): Promise<string | undefined> {
  const key = `${place.prefix}/${peer}`;
  try {
    return await place.names.wait(key, { timeoutMs: place.timeoutMs });
  } catch (e) {
    if (e instanceof CommError && e.message.startsWith('waited')) return undefined;
    throw e;
  }
}

/** One attempt: `welcome`, a refusal, or why nothing came of it. */
function dial(mesh: Mesh, place: Place, peer: number, address: string): Promise<string> {
  return new Promise((resolve) => {
    const nonce = randomBytes(32);
    const reader = new FrameReader((frame) => mesh.begin(peer, frame));
    let expect: 'hello' | 'verdict' | 'frames' = 'hello';
    let theirs = nonce;
    let seen: Buffer = Buffer.alloc(0);
    const end = (why: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(why);
    };
    /** Both messages are short: what comes is put together until it is whole. */
    const greet = (bytes: Uint8Array) => {
      seen = Buffer.concat([seen, bytes]);
      if (expect === 'hello' && seen.length >= HELLO_BYTES) {
        const their = readHello(seen.subarray(0, HELLO_BYTES));
        if (!their) {
          end('does not speak the protocol');
          return;
        }
        theirs = Buffer.from(their);
        seen = seen.subarray(HELLO_BYTES);
        expect = 'verdict';
        socket.write(answer(place, place.rank, peer, theirs, nonce));
      }
      if (expect !== 'verdict' || seen.length < VERDICT_BYTES) return;
      const first = seen.subarray(0, VERDICT_BYTES);
      const verdict = readVerdict(place, place.rank, peer, theirs, nonce, first);
      if (verdict !== 'welcome') {
        end(verdict ?? 'did not know the secret');
        return;
      }
      clearTimeout(timer);
      expect = 'frames';
      mesh.attachIn(peer, socket);
      mesh.read(peer, () => {
        reader.feed(seen.subarray(VERDICT_BYTES));
      });
      resolve('welcome');
    };
    const url = new URL(address);
    const socket = connect({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port),
      noDelay: true,
      keepAlive: true,
      onread: {
        buffer: () => reader.buffer(),
        callback: (n: number, buffer: Uint8Array) => {
          if (expect === 'frames')
            mesh.read(peer, () => {
              reader.received(n);
            });
          else greet(buffer.subarray(0, n));
          return true;
        },
      },
    });
    const timer = setTimeout(() => {
      end('did not answer');
    }, HANDSHAKE_MS);
    socket.on('error', (e) => {
      if (expect !== 'frames') end(`can't be reached: ${e.message}`);
    });
    socket.on('close', () => {
      if (expect !== 'frames') end('hung up');
    });
    // Nothing is read as events; this makes the end of the stream one.
    socket.resume();
  });
}
