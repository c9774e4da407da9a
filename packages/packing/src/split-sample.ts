/**
 * Splitting a SequenceSample into contiguous parts of about equal token counts (reference: D5, D6): data-parallel
 * dispatch, minibatches, microbatches. Parts are views of the sample's tensors. The only file that knows samples.
 */
import { DataError, totalLength } from '@realhf/api';
import type { SequenceSample } from '@realhf/api';
import { partitionBalanced } from './partition.js';
import type { Part } from './partition.js';
import { tokenBudgetParts } from './token-budget.js';
import type { TokenBudget } from './token-budget.js';

/** What a sample is split by. */
export interface SplitOptions {
  /** Key whose tokens are balanced. Default: the key of the largest total length, the first on ties. */
  readonly key?: string;
  /** Items in a part at least. Default 1. */
  readonly minSize?: number;
}

/** A way to cut a sample: contiguous parts from 0, none empty. */
export interface SplitSpec {
  readonly partitions: readonly Part[];
}

/** Tokens per item under `key`. Throws DataError on a key that the sample does not have. */
export function itemSizes(sample: SequenceSample, key = longestKey(sample)): number[] {
  const lens = sample.seqlens[key];
  if (lens === undefined)
    throw new DataError(`sample has no key '${key}'; it has ${[...sample.keys].join(', ')}`);
  return lens.map((item) => item.reduce((a, b) => a + b, 0));
}

/** The key of the largest total length, the first on ties. Throws DataError if there is no key. */
export function longestKey(sample: SequenceSample): string {
  let best: string | undefined;
  let most = -1;
  for (const [key, lens] of Object.entries(sample.seqlens)) {
    const total = totalLength(lens);
    if (total > most) [best, most] = [key, total];
  }
  if (best === undefined) throw new DataError('the sample has no key to split by');
  return best;
}

/** Cuts into k parts with the smallest difference between their token counts. Throws DataError if there are fewer than k·minSize items. */
export function splitSpec(
  sample: SequenceSample,
  k: number,
  options: SplitOptions = {},
): SplitSpec {
  const sizes = itemSizes(sample, options.key);
  return { partitions: partitionBalanced(sizes, k, { minSize: options.minSize ?? 1 }) };
}

/** A spec of parts with these numbers of items. */
export function specOfSizes(sizes: readonly number[]): SplitSpec {
  let start = 0;
  return { partitions: sizes.map((n): Part => [start, (start += n)]) };
}

/** Applies a spec; it must cover the sample from 0 to bs without gap, overlap or empty part, or DataError is thrown. */
export function splitWithSpec(sample: SequenceSample, spec: SplitSpec): SequenceSample[] {
  let at = 0;
  for (const [start, end] of spec.partitions) {
    if (start !== at || !Number.isInteger(end) || end <= start)
      throw new DataError(
        `part ${start}…${end} of a split must begin at ${at} and hold at least one item`,
      );
    at = end;
  }
  if (at !== sample.bs)
    throw new DataError(`the split covers ${at} items, the sample has ${sample.bs}`);
  return spec.partitions.map(([start, end]) => sample.slice(start, end));
}

/** `splitWithSpec` of `splitSpec`: k contiguous views with about equal tokens. */
export function splitSample(
  sample: SequenceSample,
  k: number,
  options: SplitOptions = {},
): SequenceSample[] {
  return splitWithSpec(sample, splitSpec(sample, k, options));
}

/**
 * Microbatches within a token budget: at least `nMbs` where there are that many items, each of at most `maxTokens`
 * tokens of `key` unless one item alone has more.
 */
export function microbatches(
  sample: SequenceSample,
  options: TokenBudget & { readonly key?: string } = {},
): SequenceSample[] {
  const partitions = tokenBudgetParts(itemSizes(sample, options.key), options);
  return splitWithSpec(sample, { partitions });
}
