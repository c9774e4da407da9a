/**
 * The way to one peer. Every rank dials every other: what a rank reads comes on the connection that it dialled, what
 * it writes goes to the one that the peer dialled. Large messages go out in chunks, taking turns, with few bytes in
 * the socket's own queue, so that a small frame is never far behind.
 */
import type { Socket } from 'node:net';

import {
  CHUNK_BYTES,
  EAGER_BYTES,
  EAGER_LIMIT,
  EAGER_OVERHEAD,
  encode,
  nothing,
} from './socket-frames.js';
import type { Frame } from './socket-frames.js';

/** A large message on its way out. */
export interface Transfer {
  readonly frame: Omit<Frame, 'bytes'>;
  readonly bytes: Uint8Array;
  /** Bytes that the socket was given. */
  at: number;
  cancelled: boolean;
  progress(): void;
  done(): void;
}

/** Bytes in the socket's queue before the next chunk waits. */
const IN_FLIGHT_BYTES = 4 * CHUNK_BYTES;

export class Link {
  /** Rank of the peer in the whole communicator. */
  readonly rank: number;
  out: Socket | undefined;
  in: Socket | undefined;
  /** The peer said that it closes. */
  bye = false;
  private readonly turns: Transfer[] = [];
  private inFlight = 0;
  private eagerOut = 0;
  private owed = 0;
  /** Bytes of eager messages that lie here, not received. */
  private lying = 0;

  constructor(rank: number) {
    this.rank = rank;
  }

  write(frame: Frame, payload?: Uint8Array, done?: () => void): void {
    const { out } = this;
    // A connection that is gone is a death or a farewell, which settles what waits for `done`.
    if (!out || out.destroyed || out.writableEnded) return;
    const settled = (e?: Error | null) => {
      if (!e) done?.();
    };
    if (payload === undefined || payload.length === 0) {
      out.write(encode(frame), settled);
      return;
    }
    out.cork();
    out.write(encode(frame));
    out.write(payload, settled);
    out.uncork();
  }

  transfer(transfer: Transfer): void {
    this.turns.push(transfer);
    this.pump();
  }

  /** Whether a message of so many bytes may be sent unasked; then it counts until the peer has received it. */
  claim(bytes: number): boolean {
    const cost = bytes + EAGER_OVERHEAD;
    if (bytes > EAGER_BYTES || this.eagerOut + cost > EAGER_LIMIT) return false;
    this.eagerOut += cost;
    return true;
  }

  /** The peer has received so much of what `claim` counted. */
  credited(bytes: number): void {
    this.eagerOut = Math.max(0, this.eagerOut - bytes);
  }

  /** An eager message came that nobody waits for. False where the peer sends more than it may. */
  lay(bytes: number): boolean {
    this.lying += bytes + EAGER_OVERHEAD;
    return this.lying <= EAGER_LIMIT;
  }

  /** An eager message was received; `lain` if `lay` counted it. */
  consumed(bytes: number, lain: boolean): void {
    const cost = bytes + EAGER_OVERHEAD;
    if (lain) this.lying -= cost;
    this.owed += cost;
    if (this.owed < EAGER_LIMIT / 4) return;
    const sig = { ...nothing, elements: this.owed };
    this.owed = 0;
    this.write({ type: 'credit', group: 0, key: 0, sig, bytes: 0 });
  }

  private pump(): void {
    while (this.inFlight < IN_FLIGHT_BYTES) {
      const next = this.turns.shift();
      if (next === undefined) return;
      if (next.cancelled) continue;
      const part = next.bytes.subarray(next.at, next.at + CHUNK_BYTES);
      next.at += part.length;
      this.inFlight += part.length;
      if (next.at < next.bytes.length) this.turns.push(next);
      this.write({ ...next.frame, bytes: part.length }, part, () => {
        this.inFlight -= part.length;
        next.progress();
        if (part.byteOffset + part.length === next.bytes.byteOffset + next.bytes.length)
          next.done();
        this.pump();
      });
    }
  }
}
