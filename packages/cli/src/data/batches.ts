/** Batches for evaluation, and the check that a dataset fills a training batch. */
import { ConfigError, SequenceSample } from '@realhf/api';

/** File order, every item once; the last batch may be short. */
export function evalBatches(items: readonly SequenceSample[], size: number): SequenceSample[] {
  const out: SequenceSample[] = [];
  for (let i = 0; i < items.length; i += size)
    out.push(SequenceSample.gather(items.slice(i, i + size)));
  return out;
}

/** Throws ConfigError when an epoch would have no full batch (the rest of an epoch is dropped). */
export function checkBatchSize(records: number, batch: number, option: string): void {
  if (batch > records)
    throw new ConfigError(
      `option '${option}' is ${batch}, but the dataset has ${records} records; lower it to at most ${records}`,
    );
}
