/**
 * Runs a reallocation plan on one rank: gather kernel → message → scatter kernel, transfer by transfer in the order
 * of the plan. With eta < 1 the target is an exponential moving average: dst = eta·src + (1 − eta)·dst.
 */
import { CommError } from '@realhf/api';
import type { Communicator, Ops, Tensor } from '@realhf/api';
import type { ReallocPlan, SegmentCopy, Transfer } from './realloc-plan.js';

export interface ReallocSides {
  readonly ops: Ops;
  /** Ranks as in the plan; not needed when every transfer of this rank is a copy. */
  readonly comm?: Communicator;
  /** f32 segments of this rank's source layout, if it is in it. */
  readonly source?: readonly Tensor[];
  /** f32 segments of this rank's target layout, if it is in it. */
  readonly target?: readonly Tensor[];
  /** Default 1: the target becomes the source. */
  readonly eta?: number;
}

/** Does the part of `rank`; every rank of the plan must call it. Throws CommError if a side or the communicator is missing, or a peer is gone. */
export async function executeRealloc(
  plan: ReallocPlan,
  rank: number,
  sides: ReallocSides,
): Promise<void> {
  const { ops, eta = 1 } = sides;
  for (const t of plan.transfers) {
    if (t.from !== rank && t.to !== rank) continue;
    if (t.from === t.to) {
      const message = gather(ops, t, side(sides.source, 'source', rank));
      scatter(ops, t, message, side(sides.target, 'target', rank), eta);
      ops.free(message);
    } else if (t.from === rank) {
      const message = gather(ops, t, side(sides.source, 'source', rank));
      const data = await ops.read(message, 0, t.length);
      ops.free(message);
      await side(sides.comm, 'communicator', rank).send(t.to, data);
    } else {
      const data = new Float32Array(t.length);
      await side(sides.comm, 'communicator', rank).recv(t.from, data);
      const message = ops.fromHost(data, [t.length]);
      scatter(ops, t, message, side(sides.target, 'target', rank), eta);
      ops.free(message);
    }
  }
  ops.flush();
}

function gather(ops: Ops, t: Transfer, segments: readonly Tensor[]): Tensor {
  const message = ops.empty([t.length]);
  for (const copy of t.gather)
    withIntervals(ops, copy, (intervals) => {
      ops.gatherIntervals(segmentOf(segments, copy), intervals, message);
    });
  return message;
}

function scatter(
  ops: Ops,
  t: Transfer,
  message: Tensor,
  segments: readonly Tensor[],
  eta: number,
): void {
  for (const copy of t.scatter)
    withIntervals(ops, copy, (intervals) => {
      ops.scatterIntervals(message, intervals, segmentOf(segments, copy), eta);
    });
}

function withIntervals(ops: Ops, copy: SegmentCopy, use: (intervals: Tensor) => void): void {
  const intervals = ops.fromHost(copy.intervals, [copy.intervals.length / 3, 3], 'u32');
  use(intervals);
  ops.free(intervals);
}

function segmentOf(segments: readonly Tensor[], copy: SegmentCopy): Tensor {
  const t = segments[copy.segment];
  if (t === undefined)
    throw new CommError(
      `the plan names segment ${copy.segment}, this rank has ${segments.length}; plan and model must be of one layout`,
    );
  return t;
}

function side<T>(value: T | undefined, what: string, rank: number): T {
  if (value === undefined)
    throw new CommError(`reallocation on rank ${rank} needs its ${what}; pass it`);
  return value;
}
