/**
 * Groups: the answers to one prompt are the sequences of one item, so ids stay those of the dataset, a group is never
 * cut by microbatches, minibatches or ranks, and lengths stand beside the tokens that they measure.
 */
import { DataError, SequenceSample } from '@realhf/api';

/** Every prompt `size` times, p0, p0, …, p1, …: one item each, with ids of their own (draws depend on them). */
export function repeatPrompts(prompts: SequenceSample, size: number): SequenceSample {
  const tokens = prompts.i32('packed_prompts');
  const lengths = prompts.lengths('packed_prompts');
  if (lengths.length !== prompts.bs)
    throw new DataError(
      `${prompts.bs} items hold ${lengths.length} prompts; a prompt per item is needed`,
    );
  const out = new Int32Array(tokens.length * size);
  let from = 0;
  let to = 0;
  for (const length of lengths) {
    for (let g = 0; g < size; g++, to += length) out.set(tokens.subarray(from, from + length), to);
    from += length;
  }
  return SequenceSample.fromDefault({
    ids: prompts.ids.flatMap((id) => Array.from({ length: size }, (_, g) => `${id}/${g}`)),
    seqlens: lengths.flatMap((l) => Array<number>(size).fill(l)),
    data: { packed_prompts: out },
  });
}

/** Consecutive `size` items become one item of `size` sequences, named by `ids`; tensors are not touched. */
export function groupItems(
  sample: SequenceSample,
  ids: readonly string[],
  size: number,
): SequenceSample {
  return new SequenceSample({
    ids,
    seqlens: Object.fromEntries(
      Object.entries(sample.seqlens).map(([key, lens]) => [
        key,
        ids.map((_, i) => lens.slice(i * size, (i + 1) * size).flat()),
      ]),
    ),
    data: sample.data,
    dtypes: sample.dtypes,
    trailingShapes: sample.trailingShapes,
  });
}

/** (s − mean) / (std + 1e-5) with the unbiased deviation, as the paper and the reference have it. */
export function normalizeGroup(scores: ArrayLike<number>): number[] {
  const xs = Array.from(scores);
  const mean = xs.reduce((a, b) => a + b, 0) / xs.length;
  const std = Math.sqrt(xs.reduce((a, x) => a + (x - mean) ** 2, 0) / (xs.length - 1));
  return xs.map((x) => (x - mean) / (std + 1e-5));
}

/** s minus the mean of the other scores of the group. */
export function leaveOneOut(scores: readonly number[]): number[] {
  const sum = scores.reduce((a, b) => a + b, 0);
  return scores.map((s) => s - (sum - s) / (scores.length - 1));
}
