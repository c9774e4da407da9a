/**
 * One data-parallel rank's part of evaluation batches. All ranks must see equally many parts, none empty (the engine's
 * sums are collective), so a batch with fewer items than parts joins the batch before it.
 */
import { ConfigError, SequenceSample } from '@realhf/api';
import { splitSample } from '@realhf/packing';
import type { PartOf } from './protocol.js';

/** Throws ConfigError if all batches together have fewer items than parts. */
export async function* evalPart(
  batches: Iterable<SequenceSample> | AsyncIterable<SequenceSample>,
  { index, count }: PartOf,
): AsyncGenerator<SequenceSample, void, void> {
  let held: SequenceSample | undefined;
  for await (const batch of batches) {
    if (held && held.bs >= count && batch.bs >= count) {
      yield splitSample(held, count)[index]!;
      held = batch;
    } else held = held ? SequenceSample.gather([held, batch]) : batch;
  }
  if (!held) return;
  if (held.bs < count)
    throw new ConfigError(
      `the evaluation data has ${held.bs} items for ${count} data-parallel ranks; give at least as many`,
    );
  yield splitSample(held, count)[index]!;
}
