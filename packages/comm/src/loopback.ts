/**
 * Loopback: communicators of ranks that live in one process (tests, several models on one device, worker-free runs).
 * Sends are buffered copies. A collective is one meeting per group: the last rank to arrive does the arithmetic, in
 * rank order, for all. What would hang elsewhere (a length that differs, a closed peer, a peer that never comes) is
 * a CommError on every rank that waits.
 */
import { CommError, ConfigError } from '@realhf/api';
import type { Communicator } from '@realhf/api';
import { Meetings } from './loopback-meetings.js';
import type { Arrival } from './loopback-meetings.js';
import { lengthOfKind, Mailbox } from './loopback-mailbox.js';
import type { Payload } from './loopback-mailbox.js';

/** Options of communicators within one process. */
export interface LoopbackOptions {
  /** Milliseconds that a rank waits for its peers. Default 60,000. */
  readonly timeoutMs?: number;
}

/** What the ranks of one group share. */
class Hub {
  readonly mailbox: Mailbox;
  readonly meetings: Meetings;
  readonly closed: boolean[];
  /** Sub-groups by their ranks and how often those were asked for. */
  readonly children = new Map<string, Hub>();
  /** Members by their ranks in the group that this one was made from. */
  readonly ranks: readonly number[];
  readonly size: number;
  readonly timeoutMs: number;
  constructor(ranks: readonly number[], timeoutMs: number) {
    const size = ranks.length;
    this.ranks = ranks;
    this.size = size;
    this.timeoutMs = timeoutMs;
    this.closed = new Array<boolean>(size).fill(false);
    this.mailbox = new Mailbox(size, timeoutMs);
    this.meetings = new Meetings(size, timeoutMs);
  }
}

/** Communicators of `size` ranks in this process, by rank. */
export function loopbackCommunicators(size: number, options: LoopbackOptions = {}): Communicator[] {
  if (!Number.isInteger(size) || size < 1)
    throw new ConfigError(`${size} ranks asked; a group has at least one`);
  const ranks = Array.from({ length: size }, (_, rank) => rank);
  const hub = new Hub(ranks, options.timeoutMs ?? 60_000);
  return ranks.map((rank) => new Loopback(hub, rank));
}

class Loopback implements Communicator {
  readonly rank: number;
  readonly size: number;
  private readonly hub: Hub;
  private readonly groupCalls = new Map<string, number>();
  constructor(hub: Hub, rank: number) {
    this.hub = hub;
    this.rank = rank;
    this.size = hub.size;
  }

  async send(to: number, data: Payload): Promise<void> {
    await this.checked('send', to);
    if (this.hub.closed[to]) throw new CommError(`send from ${this.rank}: rank ${to} is closed`);
    this.hub.mailbox.put(this.rank, to, data.slice());
  }

  async recv(from: number, into: Payload): Promise<void> {
    await this.checked('recv', from);
    const data = await this.hub.mailbox.take(from, this.rank, this.hub.closed[from] === true);
    if (lengthOfKind(data) !== lengthOfKind(into))
      throw new CommError(
        `recv on ${this.rank} from ${from}: expected ${lengthOfKind(into)}, got ${lengthOfKind(data)}`,
      );
    into.set(data);
  }

  broadcast(data: Payload, root: number): Promise<void> {
    return this.meet({ kind: `broadcast from ${root}`, data }, root, (all) => {
      for (const a of all) if (a.data !== all[root]!.data) a.data.set(all[root]!.data);
    });
  }

  allReduce(data: Float32Array | Float64Array, op: 'sum' | 'max' = 'sum'): Promise<void> {
    return this.meet({ kind: `allReduce ${op}`, data }, this.rank, (all) => {
      const total = reduced(
        all.map((a) => a.data),
        op,
      );
      for (const a of all) a.data.set(total);
    });
  }

  allGather(data: Payload, into: Payload): Promise<void> {
    const n = data.length;
    if (into.length !== n * this.size)
      return this.refuse(`allGather of ${n} elements into ${into.length}, needs ${n * this.size}`);
    return this.meet({ kind: 'allGather', data, into }, this.rank, (all) => {
      // Copied first: `data` may be a piece of `into`.
      const pieces = all.map((a) => a.data.slice());
      for (const a of all)
        pieces.forEach((piece, r) => {
          a.into!.set(piece, r * n);
        });
    });
  }

  reduceScatter(data: Float32Array, into: Float32Array): Promise<void> {
    const n = into.length;
    if (data.length !== n * this.size)
      return this.refuse(
        `reduceScatter of ${data.length} elements into ${n}, needs ${n * this.size}`,
      );
    return this.meet({ kind: 'reduceScatter', data, into }, this.rank, (all) => {
      const total = reduced(
        all.map((a) => a.data),
        'sum',
      );
      all.forEach((a, r) => {
        a.into!.set(total.subarray(r * n, (r + 1) * n));
      });
    });
  }

  barrier(): Promise<void> {
    return this.meet({ kind: 'barrier', data: new Float32Array(0) }, this.rank, () => undefined);
  }

  group(ranks: readonly number[]): Communicator | undefined {
    const odd = ranks.find(
      (r, i) => !Number.isInteger(r) || r < 0 || r >= this.size || ranks.indexOf(r) !== i,
    );
    if (odd !== undefined || ranks.length === 0)
      throw new CommError(
        `group of ranks ${ranks.join(', ')}: they must be different and within 0…${this.size - 1}`,
      );
    const at = ranks.indexOf(this.rank);
    if (at < 0) return undefined;
    const name = ranks.join(',');
    const call = this.groupCalls.get(name) ?? 0;
    this.groupCalls.set(name, call + 1);
    const key = `${name}#${call}`;
    let hub = this.hub.children.get(key);
    if (hub === undefined) {
      hub = new Hub([...ranks], this.hub.timeoutMs);
      // Members that left before the group was made never join it.
      for (const [i, r] of ranks.entries()) if (this.hub.closed[r]) leave(hub, i);
      this.hub.children.set(key, hub);
    }
    return new Loopback(hub, at);
  }

  close(): Promise<void> {
    leave(this.hub, this.rank);
    return Promise.resolve();
  }

  private checked(what: string, peer: number): Promise<void> {
    if (!Number.isInteger(peer) || peer < 0 || peer >= this.size)
      return this.refuse(`${what}: rank ${peer} is outside 0…${this.size - 1}`);
    if (this.hub.closed[this.rank]) return this.refuse(`${what}: this rank is closed`);
    return Promise.resolve();
  }

  private async meet(
    mine: Arrival,
    root: number,
    all: (arrivals: readonly Arrival[]) => void,
  ): Promise<void> {
    await this.checked(mine.kind, root);
    await this.hub.meetings.arrive(this.rank, mine, all);
  }

  private refuse(why: string): Promise<never> {
    return Promise.reject(new CommError(`rank ${this.rank} of ${this.size}: ${why}`));
  }
}

/** Closes a rank here and in every group made from this one, whether it has asked for its place there or not. */
function leave(hub: Hub, rank: number): void {
  if (hub.closed[rank]) return;
  hub.closed[rank] = true;
  hub.mailbox.leave(rank);
  hub.meetings.leave(rank);
  for (const child of hub.children.values()) {
    const at = child.ranks.indexOf(rank);
    if (at >= 0) leave(child, at);
  }
}

/** Sum or maximum in rank order, in the type of the data. */
function reduced(parts: readonly Arrival['data'][], op: 'sum' | 'max'): Arrival['data'] {
  const out = parts[0]!.slice();
  for (const part of parts.slice(1))
    for (let i = 0; i < out.length; i++)
      out[i] = op === 'sum' ? out[i]! + part[i]! : Math.max(out[i]!, part[i]!);
  return out;
}
