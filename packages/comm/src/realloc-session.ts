/**
 * ReallocSession: one rank's part of a reallocation plan, ready to run again and again. Its block lists lie on the device
 * from the start. A run is gather kernel → wire → scatter kernel, with several messages under way: while one travels, the
 * next is gathered and the one before is scattered. What a rank keeps is copied segment to segment by one kernel. With
 * eta < 1 the target is an exponential moving average: dst = eta·src + (1 − eta)·dst.
 */
import { CommError } from '@realhf/api';
import type { Communicator, Ops, Tensor, TensorCommunicator } from '@realhf/api';
import { blockElements, blockWords } from './realloc-blocks.js';
import type { ReallocPlan, Transfer } from './realloc-plan.js';
import { deviceWire, hostWire } from './realloc-wire.js';
import type { ReallocWire } from './realloc-wire.js';

/** A plan, the rank that takes part in it, and the ways that its data go. */
export interface ReallocSessionOptions {
  readonly plan: ReallocPlan;
  /** This rank in the plan and in the communicator. */
  readonly rank: number;
  readonly ops: Ops;
  /** Messages go through the host over it. Not needed when this rank only copies. */
  readonly comm?: Communicator;
  /** Messages go from device to device over it, instead. */
  readonly tensors?: TensorCommunicator;
  /** What travels. 'f16' rounds every moved value (local copies too, so that replicas stay equal). Default 'f32'. */
  readonly wire?: 'f32' | 'f16';
  /** Messages of this rank under way at once. Default 3. */
  readonly depth?: number;
}

/** One rank's tensors in a run of a reallocation. */
export interface ReallocSides {
  /** f32 segments of this rank's source, if it is in it; longer than the plan's is fine. */
  readonly source?: readonly Tensor[];
  /** f32 segments of this rank's target, if it is in it. */
  readonly target?: readonly Tensor[];
  /** Default 1: the target becomes the source. */
  readonly eta?: number;
}

/** A block list on the device. */
interface Copy {
  readonly source: number;
  readonly target: number;
  readonly blocks: Tensor;
  readonly total: number;
  readonly aligned: boolean;
}

interface Step {
  readonly transfer: Transfer;
  readonly copies: readonly Copy[];
}

/** One rank's part of a parameter reallocation, run as often as wanted. */
export class ReallocSession {
  private readonly options: ReallocSessionOptions;
  private readonly wire: ReallocWire | undefined;
  private readonly locals: readonly Copy[];
  private readonly steps: readonly Step[];
  private table: Tensor | undefined;

  /** Uploads the block lists. Throws CommError if this rank must send or receive and has no communicator. */
  constructor(options: ReallocSessionOptions) {
    const { plan, rank, ops, comm, tensors } = options;
    this.options = options;
    this.wire = tensors ? deviceWire(tensors) : comm && hostWire(comm, ops);
    const mine = plan.transfers.filter((t) => t.from === rank || t.to.includes(rank));
    if (mine.length > 0 && this.wire === undefined)
      throw new CommError(
        `reallocation: rank ${rank} sends or receives ${mine.length} messages and has no communicator; pass comm or tensors`,
      );
    const lists = new BlockTable();
    const local = (plan.locals.find((l) => l.rank === rank)?.copies ?? []).map((c) => ({
      ...c,
      at: lists.add(c.blocks),
    }));
    const steps = mine.map((transfer) => {
      const copies =
        transfer.from === rank
          ? transfer.gather
          : transfer.scatter.find((s) => s.ranks.includes(rank))!.copies;
      return {
        transfer,
        copies: copies.map((c) => ({
          source: c.segment,
          target: c.segment,
          aligned: c.aligned,
          blocks: c.blocks,
          at: lists.add(c.blocks),
        })),
      };
    });
    const table = (this.table = lists.upload(ops));
    const bound = (c: (typeof local)[number]): Copy => ({
      source: c.source,
      target: c.target,
      aligned: c.aligned,
      total: blockElements(c.blocks),
      blocks: ops.view(table, c.at, [c.blocks.length / blockWords, blockWords]),
    });
    this.locals = local.map(bound);
    this.steps = steps.map(({ transfer, copies }) => ({ transfer, copies: copies.map(bound) }));
  }

  /** Does this rank's part; every rank of the plan must call it. Throws CommError if a side is missing or of another layout, or a peer is gone. */
  async run(sides: ReallocSides): Promise<void> {
    if (this.table === undefined)
      throw new CommError('reallocation: this session was freed; make another');
    const { ops, plan, rank, wire, depth = 3 } = this.options;
    const source = checked('source', rank, plan.sourceSegments[rank], sides.source);
    const target = checked('target', rank, plan.targetSegments[rank], sides.target);
    const eta = sides.eta ?? 1;
    for (const c of this.locals)
      ops.copyBlocks({
        src: source[c.source]!,
        blocks: c.blocks,
        total: c.total,
        dst: target[c.target]!,
        aligned: c.aligned,
        eta,
        toHalf: wire === 'f16',
      });
    // Under way: what this rank has begun and not finished, oldest first.
    const underWay: Promise<void>[] = [];
    try {
      for (const step of this.steps) {
        if (underWay.length >= Math.max(1, depth)) await underWay.shift();
        const begun =
          step.transfer.from === rank ? this.send(step, source) : this.receive(step, target, eta);
        // Awaited in its turn: until then a failure is not unhandled.
        begun.catch(() => undefined);
        underWay.push(begun);
      }
      while (underWay.length > 0) await underWay.shift();
    } finally {
      await Promise.allSettled(underWay);
    }
    ops.flush();
  }

  /** Frees the block lists. */
  free(): void {
    if (this.table) this.options.ops.free(this.table);
    this.table = undefined;
  }

  private async send({ transfer, copies }: Step, source: readonly Tensor[]): Promise<void> {
    const { ops } = this.options;
    const message = ops.empty([transfer.length]);
    for (const c of copies)
      ops.copyBlocks({
        src: source[c.source]!,
        blocks: c.blocks,
        total: c.total,
        dst: message,
        aligned: c.aligned,
      });
    let travels = message;
    if (this.options.wire === 'f16') {
      travels = halvesOf(ops, transfer.length);
      ops.packHalves(message, travels);
      ops.free(message);
    }
    try {
      await this.wire!.send(transfer.to[0]!, travels);
    } finally {
      ops.free(travels);
    }
  }

  private async receive(
    { transfer, copies }: Step,
    target: readonly Tensor[],
    eta: number,
  ): Promise<void> {
    const { ops, rank } = this.options;
    const half = this.options.wire === 'f16';
    const at = transfer.to.indexOf(rank);
    const travels = half ? halvesOf(ops, transfer.length) : ops.empty([transfer.length]);
    try {
      await this.wire!.recv(transfer.to[at - 1] ?? transfer.from, travels, transfer.to[at + 1]);
      const message = half ? ops.empty([transfer.length]) : travels;
      if (half) ops.unpackHalves(travels, message);
      for (const c of copies)
        ops.copyBlocks({
          src: message,
          blocks: c.blocks,
          total: c.total,
          dst: target[c.target]!,
          aligned: c.aligned,
          eta,
        });
      if (half) ops.free(message);
    } finally {
      ops.free(travels);
    }
  }
}

/** Many block lists in one tensor, as copyBlocks takes them; each begins on 256 bytes. */
class BlockTable {
  private readonly lists: { at: number; blocks: readonly number[] }[] = [];
  private size = 0;

  add(blocks: readonly number[]): number {
    const at = this.size;
    this.lists.push({ at, blocks });
    this.size = Math.ceil((at + blocks.length) / 64) * 64;
    return at;
  }

  upload(ops: Ops): Tensor {
    const words = new Uint32Array(Math.max(this.size, 1));
    for (const { at, blocks } of this.lists) {
      let first = 0;
      for (let i = 0; i < blocks.length; i += blockWords) {
        words[at + i] = first;
        // Source, destination, run, source stride, destination stride; how many runs shows in the next `first`.
        for (let k = 0; k < 5; k++) words[at + i + 1 + k] = blocks[i + k]!;
        first += blocks[i + 2]! * blocks[i + 5]!;
      }
    }
    return ops.fromHost(words, [words.length], 'u32');
  }
}

function halvesOf(ops: Ops, elements: number): Tensor {
  return ops.empty([Math.ceil(elements / 2)], 'u32');
}

function checked(
  side: string,
  rank: number,
  sizes: readonly number[] = [],
  tensors: readonly Tensor[] = [],
): readonly Tensor[] {
  const bad = sizes.findIndex((size, i) => !(tensors[i] && tensors[i].size >= size));
  if (bad >= 0)
    throw new CommError(
      `reallocation: the plan's ${side} on rank ${rank} has ${sizes.length} segments, number ${bad} of ${sizes[bad]} elements; got ${tensors.length} segments of ${tensors.map((t) => t.size).join(', ') || 'nothing'}; pass the ${side} that the plan was made for`,
    );
  return tensors;
}
