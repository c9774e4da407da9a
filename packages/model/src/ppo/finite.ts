/** NaN and infinities stop a step before anything learns from it; the message names where they came from. */
import { NumericError, type SequenceSample } from '@realhf/api';

/** NumericError naming the key and the id of the first counted entry that is not finite. `mask`: one entry per element. */
export function assertFinite(sample: SequenceSample, key: string, mask?: Uint8Array): void {
  const data = sample.f32(key);
  const bad = data.findIndex((x, i) => !Number.isFinite(x) && (mask?.[i] ?? 1) !== 0);
  if (bad < 0) return;
  let item = 0;
  let end = 0;
  for (const lens of sample.seqlens[key]!) {
    end += lens.reduce((a, b) => a + b, 0);
    if (bad < end) break;
    item++;
  }
  throw new NumericError(
    `'${key}' of id '${sample.ids[item] ?? '?'}' is ${data[bad]!} at element ${bad}; look at the call that made it: nothing was learned from this batch`,
  );
}
