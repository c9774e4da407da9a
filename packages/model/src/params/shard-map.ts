/**
 * ShardMap: which intervals of the logical flat space a (tp, pp) rank holds and where they lie in its segments.
 * Pure; reallocation and checkpoints are intersections of these maps. Every local parameter starts on a multiple
 * of 64 elements (256 bytes) and lies in one segment, or is cut by rows into several that do; the gaps belong to no
 * interval. With tied embeddings and pp > 1 the first and the last stage both hold `0.wte.weight` (its gradient is the
 * sum of theirs).
 */
import type { LocalParam, ModelConfig, ParamSpec, ShardInterval, ShardMap } from '@realhf/api';
import { hasOwnHead, paramSpecs } from './specs.js';
import { stageLayers } from './stage-layers.js';
import { cutByRows, elements } from './row-cuts.js';
import { checkPart, shardRule, type ParamSlice, type Part, type Range } from './tensor-slices.js';

/** Elements that a local parameter's offset is a multiple of. */
export const paramAlignment = 64;

/** How a rank's parameters are laid out in segments. */
export interface ShardMapOptions {
  /** Elements; default 2^28 (1 GiB of f32). */
  readonly maxSegmentElements?: number;
  /** Default: the model's parameters; or those of an adapter. */
  readonly specs?: readonly ParamSpec[];
}

/** What one rank holds: all of the space when tp and pp are 1. Throws ConfigError if the model can't be cut so. */
export function shardMap(
  config: ModelConfig,
  parts: { tp: Part; pp: Part },
  options: ShardMapOptions = {},
): { map: ShardMap; locals: LocalParam[] } {
  const { placed, segmentSizes } = placeParams(config, parts, options);
  const intervals: ShardInterval[] = [];
  for (const { spec, slice, segment, offset } of placed)
    for (const piece of sliceIntervals(spec, slice))
      intervals.push({ ...piece, segment, local: offset + piece.local });
  const locals = placed.map(({ spec, slice, row, segment, offset }) => ({
    spec,
    row,
    segment,
    offset,
    shape: slice.shape,
  }));
  return { map: { intervals, segmentSizes }, locals };
}

/** A parameter of one rank or some rows of it, which part of the whole, and where in the rank's segments. */
export interface PlacedParam {
  readonly spec: ParamSpec;
  readonly slice: ParamSlice;
  /** First of the rank's rows. */
  readonly row: number;
  readonly segment: number;
  /** Elements. */
  readonly offset: number;
}

/** The parameters of one rank, one after another in segments. Throws ConfigError. */
export function placeParams(
  config: ModelConfig,
  { tp, pp }: { tp: Part; pp: Part },
  { maxSegmentElements = 2 ** 28, specs }: ShardMapOptions = {},
): { placed: PlacedParam[]; segmentSizes: number[] } {
  const capacity = roundDown(maxSegmentElements);
  const segmentSizes: number[] = [];
  const placed: PlacedParam[] = [];
  let used = capacity;

  for (const spec of stageSpecs(config, pp, specs)) {
    for (const piece of cutByRows(config, spec, shardRule(config, spec, tp), capacity)) {
      const size = elements(piece.slice);
      if (used + size > capacity) {
        segmentSizes.push(0);
        used = 0;
      }
      const segment = segmentSizes.length - 1;
      placed.push({ spec, ...piece, segment, offset: used });
      used = roundDown(used + size + paramAlignment - 1);
      segmentSizes[segment] = used;
    }
  }
  return { placed, segmentSizes };
}

/** The parameters of one pipeline stage, in the order of the flat space. Throws ConfigError. */
export function stageSpecs(
  config: ModelConfig,
  pp: Part,
  specs: readonly ParamSpec[] = paramSpecs(config),
): ParamSpec[] {
  checkPart('pipeline parallel', pp);
  const [begin, end] = stageLayers(config, pp.size)[pp.rank]!;
  const needsWte = !hasOwnHead(config) && pp.rank === pp.size - 1;
  return specs.filter(
    (s) => (s.layer >= begin && s.layer < end) || (needsWte && s.name === '0.wte.weight'),
  );
}

/** The slice as runs: `global` in the flat space, `local` from the start of the local tensor, both in elements. */
export function sliceIntervals(
  spec: ParamSpec,
  { rows, columns }: ParamSlice,
): Pick<ShardInterval, 'param' | 'global' | 'local' | 'length'>[] {
  const width = spec.shape[1] ?? 1;
  const [left, right] = columns;
  const runs: Range[] =
    right - left === width
      ? rows.map(([a, b]) => [a * width, b * width])
      : rows.flatMap(([a, b]) =>
          Array.from({ length: b - a }, (_, i): Range => [
            (a + i) * width + left,
            (a + i) * width + right,
          ]),
        );
  const out: { param: string; global: number; local: number; length: number }[] = [];
  let local = 0;
  for (const [a, b] of runs) {
    const last = out.at(-1);
    if (last && last.global + last.length === spec.offset + a) last.length += b - a;
    else out.push({ param: spec.name, global: spec.offset + a, local, length: b - a });
    local += b - a;
  }
  return out;
}

const roundDown = (n: number) => n - (n % paramAlignment);
