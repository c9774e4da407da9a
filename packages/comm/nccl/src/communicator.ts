/**
 * Collectives of WebGPU tensors by NCCL. Calls on one communicator run in the order they were made; sends and receives
 * that wait together go as one group, so that ranks may exchange. Contract beside TensorCommunicator's: NCCL sums in an
 * order of its own, the same on every rank and every run of one layout, and not the order of ranks. After a time-out or
 * an error of a peer the communicator is aborted: that call and all later ones fail with the same CommError.
 */
import {
  CommError,
  RealError,
  type DType,
  type Tensor,
  type TensorCommunicator,
} from '@realhf/api';
import type { NameResolve } from '@realhf/comm';

import { openBridge, type Bridge, type BridgeOptions, type Lane } from './bridge.js';
import type { BufferRange, Use } from './device-memory.js';
import { Nccl, ncclTypes, type NcclOperation } from './nccl.js';
import { Peers } from './peers.js';

/** Rank, meeting point and memory of a communicator over NCCL. */
export interface NcclOptions extends BridgeOptions {
  readonly rank: number;
  readonly size: number;
  /** Where the ranks meet, and a prefix of names that no other communicator has. */
  readonly names: NameResolve;
  readonly key: string;
  /** Where a tensor lies, with all work on it submitted; `written`: it is about to change. WebGpuOps.deviceRange. */
  readonly rangeOf: (t: Tensor, written: boolean) => BufferRange;
  /** Milliseconds that one call may take. Default 600,000. */
  readonly timeoutMs?: number;
  /** Seconds until a rank that died is missed, when it is asked who is to blame. Default 5. */
  readonly lifeSeconds?: number;
}

/** A communicator on tensors whose collectives NCCL runs. */
export interface NcclTensorCommunicator extends TensorCommunicator {
  /** `shared`: NCCL works on WebGPU's own buffers. */
  readonly memory: 'shared' | 'staged';
  /** A sub-group by ranks of this one, collective over its members; undefined for others. */
  group(ranks: readonly number[]): Promise<NcclTensorCommunicator> | undefined;
  /** Ends it and its groups, once what was called is done. */
  close(): Promise<void>;
}

/** Joins the communicator `key`. Throws DeviceError without CUDA or NCCL, CommError when a rank doesn't come. */
export async function ncclTensorCommunicator(
  options: NcclOptions,
): Promise<NcclTensorCommunicator> {
  const nccl = new Nccl();
  const bridge = await openBridge(options);
  return NcclCommunicator.join(nccl, bridge, options, true);
}

interface Call {
  readonly what: string;
  readonly message: boolean;
  readonly tensors: readonly {
    readonly t: Tensor;
    readonly reads: boolean;
    readonly writes: boolean;
  }[];
  /** From the tensors' device addresses. */
  readonly operation: (addresses: readonly bigint[]) => NcclOperation;
  readonly done: () => void;
  readonly failed: (e: unknown) => void;
}

type Shape = Omit<Call, 'done' | 'failed'>;

/** NCCL's own limit is higher; more don't gain. */
const mostInGroup = 64;

class NcclCommunicator implements NcclTensorCommunicator {
  readonly rank: number;
  readonly size: number;
  private readonly nccl: Nccl;
  private readonly bridge: Bridge;
  private readonly lane: Lane;
  private readonly options: NcclOptions;
  private readonly peers: Peers;
  private readonly ownsBridge: boolean;
  private readonly timeoutMs: number;
  private readonly queue: Call[] = [];
  private readonly groups: NcclCommunicator[] = [];
  private readonly groupCounts = new Map<string, number>();
  private comm = 0n;
  private running: Promise<void> | undefined;
  private failure: CommError | undefined;
  private released = false;
  /** When the call under way began. */
  private began = performance.now();

  private constructor(nccl: Nccl, bridge: Bridge, options: NcclOptions, ownsBridge: boolean) {
    this.rank = options.rank;
    this.size = options.size;
    this.nccl = nccl;
    this.bridge = bridge;
    this.lane = bridge.lane();
    this.options = options;
    this.ownsBridge = ownsBridge;
    this.timeoutMs = options.timeoutMs ?? 600_000;
    this.peers = new Peers(options);
  }

  static async join(
    nccl: Nccl,
    bridge: Bridge,
    options: NcclOptions,
    ownsBridge: boolean,
  ): Promise<NcclCommunicator> {
    const c = new NcclCommunicator(nccl, bridge, options, ownsBridge);
    try {
      const id = await c.peers.exchange(() => nccl.uniqueId(), c.timeoutMs);
      c.comm = nccl.join(c.size, id, c.rank);
      await c.until('joining', () => nccl.isReady(c.comm));
    } catch (e) {
      const failure = await c.abort('joining', e);
      c.release();
      throw failure;
    }
    return c;
  }

  get memory(): 'shared' | 'staged' {
    return this.bridge.kind;
  }

  send(to: number, t: Tensor): Promise<void> {
    this.checkRank('send to', to);
    return this.call({
      what: `send to rank ${to}`,
      message: true,
      tensors: [{ t, reads: true, writes: false }],
      operation: ([from]) => ({ kind: 'send', from: from!, peer: to, ...elements(t) }),
    });
  }
  recv(from: number, into: Tensor): Promise<void> {
    this.checkRank('recv from', from);
    return this.call({
      what: `recv from rank ${from}`,
      message: true,
      tensors: [{ t: into, reads: false, writes: true }],
      operation: ([to]) => ({ kind: 'recv', to: to!, peer: from, ...elements(into) }),
    });
  }
  broadcast(t: Tensor, root: number): Promise<void> {
    this.checkRank('broadcast from', root);
    return this.call({
      what: `broadcast from rank ${root}`,
      message: false,
      tensors: [{ t, reads: this.rank === root, writes: this.rank !== root }],
      operation: ([at]) => ({ kind: 'broadcast', from: at!, to: at!, root, ...elements(t) }),
    });
  }
  allReduce(t: Tensor): Promise<void> {
    return this.call({
      what: 'allReduce',
      message: false,
      tensors: [{ t, reads: true, writes: true }],
      operation: ([at]) => ({ kind: 'allReduce', from: at!, to: at!, ...elements(t) }),
    });
  }
  allGather(t: Tensor, into: Tensor): Promise<void> {
    this.checkPieces('allGather', into, t);
    return this.call({
      what: 'allGather',
      message: false,
      tensors: [
        { t, reads: true, writes: false },
        { t: into, reads: false, writes: true },
      ],
      operation: ([from, to]) => ({ kind: 'allGather', from: from!, to: to!, ...elements(t) }),
    });
  }
  reduceScatter(t: Tensor, into: Tensor): Promise<void> {
    this.checkPieces('reduceScatter', t, into);
    return this.call({
      what: 'reduceScatter',
      message: false,
      tensors: [
        { t, reads: true, writes: false },
        { t: into, reads: false, writes: true },
      ],
      operation: ([from, to]) => ({
        kind: 'reduceScatter',
        from: from!,
        to: to!,
        ...elements(into),
      }),
    });
  }

  group(ranks: readonly number[]): Promise<NcclTensorCommunicator> | undefined {
    const odd = ranks.find((r) => !Number.isInteger(r) || r < 0 || r >= this.size);
    if (odd !== undefined || ranks.length === 0 || new Set(ranks).size !== ranks.length)
      throw new CommError(
        `a group of ranks [${ranks.join(', ')}]: give distinct ranks from 0 to ${this.size - 1}`,
      );
    const name = ranks.join('-');
    const count = this.groupCounts.get(name) ?? 0;
    this.groupCounts.set(name, count + 1);
    const rank = ranks.indexOf(this.rank);
    if (rank < 0) return undefined;
    const { options } = this;
    const key = `${options.key}/group-${name}-${count}`;
    const made = NcclCommunicator.join(
      this.nccl,
      this.bridge,
      { ...options, rank, size: ranks.length, key },
      false,
    );
    return made.then((group) => {
      this.groups.push(group);
      return group;
    });
  }

  async close(): Promise<void> {
    await this.running;
    await Promise.all(this.groups.splice(0).map((g) => g.close()));
    if (this.comm !== 0n) {
      const { comm } = this;
      this.comm = 0n;
      this.failure ??= new CommError(`rank ${this.rank} of ${this.options.key} is closed`);
      this.nccl.end(comm, false);
      await this.peers.leave();
    }
    this.release();
  }

  private release(): void {
    if (this.released) return;
    this.released = true;
    this.lane.close();
    if (this.ownsBridge) this.bridge.close();
  }

  private call(shape: Shape): Promise<void> {
    // NCCL takes no empty message; all ranks see the same size and leave it out alike.
    if (shape.tensors[0]!.t.size === 0) return Promise.resolve();
    return new Promise<void>((done, failed) => {
      this.queue.push({ ...shape, done, failed });
      // Calls made together are seen together.
      this.running ??= Promise.resolve().then(() => this.run());
    });
  }

  private async run(): Promise<void> {
    for (;;) {
      const first = this.queue.shift();
      if (!first) {
        this.running = undefined;
        return;
      }
      const calls = [first];
      while (first.message && this.queue[0]?.message && calls.length < mostInGroup)
        calls.push(this.queue.shift()!);
      try {
        await this.perform(calls);
        for (const c of calls) c.done();
      } catch (e) {
        for (const c of calls) c.failed(e);
      }
    }
  }

  private async perform(calls: readonly Call[]): Promise<void> {
    if (this.failure) throw this.failure;
    const { memory, stream } = this.lane;
    const what = calls.map((c) => c.what).join(', ');
    const uses: Use[] = calls.flatMap((c) =>
      c.tensors.map(({ t, reads, writes }) => ({
        ...this.options.rangeOf(t, writes),
        reads,
        writes,
      })),
    );
    const addresses = await memory.open(uses);
    try {
      let next = 0;
      const operations = calls.map((c) =>
        c.operation(addresses.slice(next, (next += c.tensors.length))),
      );
      this.nccl.launch(this.comm, stream, operations);
      let enqueued = false;
      await this.until(what, () => {
        const ready = this.nccl.isReady(this.comm);
        enqueued ||= ready;
        return enqueued && this.bridge.cuda.isDone(stream);
      });
    } catch (e) {
      const failure = await this.abort(what, e);
      await memory.settle(uses, addresses, true);
      throw failure;
    }
    await memory.settle(uses, addresses, false);
  }

  /** Asks until it is done: at once, then between other work, then once a millisecond. */
  private async until(what: string, done: () => boolean): Promise<void> {
    this.began = performance.now();
    for (;;) {
      if (done()) return;
      const waited = performance.now() - this.began;
      if (waited > this.timeoutMs)
        throw new CommError(`${what} took longer than ${this.timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        if (waited < 2) setImmediate(resolve);
        else setTimeout(resolve, 1);
      });
    }
  }

  /** Ends NCCL's part and finds out who is to blame. @returns what all calls fail with from now on. */
  private async abort(what: string, cause: unknown): Promise<CommError> {
    if (this.failure) return this.failure;
    if (this.comm !== 0n) {
      const { comm } = this;
      this.comm = 0n;
      this.nccl.end(comm, true);
    }
    const why = cause instanceof Error ? cause.message : String(cause);
    const mine = `${what} on rank ${this.rank} of ${this.size} ('${this.options.key}')`;
    this.failure = new CommError(`${mine}: ${why}`, { cause });
    try {
      await this.peers.giveUp(what);
    } catch (e) {
      if (!RealError.is(e)) throw e;
    }
    const blame =
      this.size > 1 ? `; ${await this.peers.blame(performance.now() - this.began)}` : '';
    await this.peers.leave();
    return (this.failure = new CommError(`${mine}: ${why}${blame}`, { cause }));
  }

  private checkRank(what: string, rank: number): void {
    if (!Number.isInteger(rank) || rank < 0 || rank >= this.size)
      throw new CommError(`${what} rank ${rank}: outside 0…${this.size - 1}`);
  }
  private checkPieces(what: string, all: Tensor, piece: Tensor): void {
    if (all.size !== piece.size * this.size || all.dtype !== piece.dtype)
      throw new CommError(
        `${what} over ${this.size} ranks: a piece of ${piece.size} × ${piece.dtype} needs ` +
          `${piece.size * this.size} × ${piece.dtype} for all, got ${all.size} × ${all.dtype}`,
      );
  }
}

function elements(t: Tensor): { readonly type: number; readonly count: number } {
  const types: Readonly<Record<DType, number>> = ncclTypes;
  return { type: types[t.dtype], count: t.size };
}
