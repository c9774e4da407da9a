/**
 * All connections of one rank: routes frames to inboxes, tells a farewell from a death, and fails everything at a
 * death. A rank that closes says so first; one whose connection ends without a word has died, and then nothing of the
 * run can be relied on, so every group of every other rank fails at once.
 */
import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';

import { CommError } from '@realhf/api';
import { nothing, TEXT_BYTES } from './socket-frames.js';
import type { Frame } from './socket-frames.js';
import { Inbox } from './socket-inbox.js';
import { Link } from './socket-link.js';
import type { Sink } from './socket-reader.js';

/** How long a connection that broke may be outrun by the farewell on the other one. */
const GRACE_MS = 1000;
/** How long `close` waits for peers to end their side. */
const LINGER_MS = 2000;

export class Mesh {
  readonly rank: number;
  readonly size: number;
  readonly links: readonly Link[];
  /** Why nothing works any more. */
  failure: string | undefined;
  closed = false;
  private readonly inboxes = new Map<number, Inbox>();
  /** Told once, when a peer dies. */
  onFailure: (why: string) => void = () => undefined;

  constructor(rank: number, size: number) {
    this.rank = rank;
    this.size = size;
    this.links = Array.from({ length: size }, (_, r) => new Link(r));
  }

  inbox(group: number): Inbox {
    let inbox = this.inboxes.get(group);
    if (!inbox) {
      inbox = new Inbox(this.links, group);
      this.inboxes.set(group, inbox);
    }
    return inbox;
  }

  /** The connection that the peer dialled: this rank writes there. */
  attachOut(rank: number, socket: Socket): void {
    const link = this.links[rank]!;
    link.out = socket;
    socket.removeAllListeners('data');
    // The peer has nothing to say here; not reading would hide its end.
    socket.on('data', () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => {
      if (link.bye || this.closed) return;
      setTimeout(() => {
        this.lost(link, 'its connection broke');
      }, GRACE_MS).unref();
    });
  }

  /** The connection that this rank dialled and reads. */
  attachIn(rank: number, socket: Socket): void {
    const link = this.links[rank]!;
    link.in = socket;
    let why = 'its connection ended';
    socket.on('error', (e) => {
      why = `its connection broke: ${e.message}`;
    });
    socket.on('close', () => {
      this.lost(link, why);
    });
  }

  /** Runs a read of a peer's bytes; one that sends rubbish is cut off. */
  read(rank: number, work: () => void): void {
    try {
      work();
    } catch (e) {
      this.lost(this.links[rank]!, `it sent ${e instanceof Error ? e.message : String(e)}`);
    }
  }

  /** `FrameReader` calls it for every header of `rank`. */
  begin(rank: number, frame: Frame): Sink {
    const link = this.links[rank]!;
    if (frame.type === 'credit') link.credited(frame.sig.elements);
    else if (frame.type === 'bye') this.farewell(link, frame.group);
    else return this.inbox(frame.group).begin(rank, frame);
    return { end: () => undefined };
  }

  /** Tells the members of a group that one of its collectives is given up. */
  abort(group: number, key: number, members: readonly number[], why: string): void {
    const text = new TextEncoder().encode(why).subarray(0, TEXT_BYTES);
    for (const rank of members)
      if (rank !== this.rank)
        this.links[rank]!.write(
          { type: 'abort', group, key, sig: nothing, bytes: text.length },
          text,
        );
  }

  /** Tells `members` that this rank leaves a group. */
  leave(group: number, members: readonly number[]): void {
    for (const rank of members)
      if (rank !== this.rank)
        this.links[rank]!.write({ type: 'bye', group, key: 0, sig: nothing, bytes: 0 });
  }

  /** Ends all connections, politely while peers end theirs. */
  async close(): Promise<void> {
    this.closed = true;
    const sockets = this.links.flatMap((l) => [l.out, l.in]).filter((s) => s !== undefined);
    const open = sockets.filter((s) => !s.closed);
    const ends = open.map(
      (s) =>
        new Promise<void>((resolve) => {
          s.once('close', () => {
            resolve();
          });
        }),
    );
    for (const s of open) s.end();
    const timer = setTimeout(() => {
      this.destroy();
    }, LINGER_MS);
    await Promise.all(ends);
    clearTimeout(timer);
  }

  /** Ends all connections at once: to peers it looks like a death. */
  destroy(): void {
    this.closed = true;
    for (const { out, in: from } of this.links) {
      out?.destroy();
      from?.destroy();
    }
  }

  private farewell(link: Link, group: number): void {
    if (group === groupId('')) link.bye = true;
    this.inbox(group).left.add(link.rank);
    // Groups know which groups they were made from.
    for (const inbox of this.inboxes.values()) inbox.listener?.left(link.rank);
  }

  private lost(link: Link, why: string): void {
    if (link.bye || this.closed || this.failure !== undefined) return;
    this.failure = `rank ${link.rank} of ${this.size} is gone: ${why}; look at its log`;
    for (const inbox of this.inboxes.values()) inbox.listener?.broken(this.failure);
    this.onFailure(this.failure);
    // Peers of this rank that wait for others learn of it from the dead one's own connections.
    link.out?.destroy();
    link.in?.destroy();
  }
}

/** Number of a group, from how it was made: the same on every member without a word between them. */
export function groupId(path: string): number {
  return createHash('sha256').update(path).digest().readUIntBE(0, 6);
}

/** The error of an operation on a mesh that failed or is closed. */
export function refusal(mesh: Mesh, what: string): CommError | undefined {
  if (mesh.failure !== undefined) return new CommError(`${what}: ${mesh.failure}`);
  return mesh.closed ? new CommError(`${what}: this rank is closed`) : undefined;
}
