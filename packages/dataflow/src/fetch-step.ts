/** The items of one step from the workers that hold the dataset, each a contiguous part of it, in order. */
import { DataError, type SequenceSample } from '@realhf/api';
import type { Dispatcher } from './dispatcher.js';
import { decodeMeta, type StepPosition } from './protocol.js';

export interface FetchedPart {
  readonly worker: string;
  /** Metadata; may have no items. */
  readonly part: SequenceSample;
}

/** `n` items; throws DataError if the workers give another number. */
export async function fetchStep(
  dispatcher: Dispatcher,
  workers: readonly string[],
  at: StepPosition,
  n: number,
): Promise<FetchedPart[]> {
  const count = workers.length;
  const ask = async () => {
    const replies = await dispatcher.all(
      workers.map((worker, index) => {
        const part = count > 1 ? { part: { index, count } } : {};
        return [worker, { type: 'fetch', n, ...part }] as const;
      }),
    );
    return replies.map((r) => r.sample);
  };
  if (at.epochStep === 0 && at.epoch > 0 && (await ask()).some((s) => s !== null))
    throw new DataError(
      `epoch ${at.epoch - 1} of the dataset goes on after the size that it told; size must count the items of one epoch`,
    );
  const samples = await ask();
  const got = samples.reduce((sum, s) => sum + (s?.ids.length ?? 0), 0);
  if (got !== n)
    throw new DataError(
      `the dataset gave ${got} items for step ${at.epochStep} of epoch ${at.epoch}, asked for ${n}; size must count the items of one epoch`,
    );
  return samples.flatMap((s, i) =>
    s === null ? [] : [{ worker: workers[i]!, part: decodeMeta(s) }],
  );
}
