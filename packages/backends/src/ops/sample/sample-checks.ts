/** What the tests of sampling share: arguments for one step, the warpers to try, and the chi-square test of draws. */
import type { SampleArgs, Tensor } from '@realhf/api';
import { expect } from 'vitest';

import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import type { RowForm } from '../logprobs/logprobs.js';
import { sample } from './sample.js';
import { sampleReference, type Warpers } from './sample.reference.js';

/** A tensor of the array's own type. */
export function hold(
  r: Recorder,
  data: Float32Array | Uint32Array | Int32Array,
  shape = [data.length],
): Tensor {
  const dtype =
    data instanceof Uint32Array ? 'u32' : data instanceof Int32Array ? 'i32' : ('f32' as const);
  const t = r.alloc(shape, dtype);
  r.write(t, data);
  return t;
}

/** Arguments for one step with fresh state. */
export function sampleArgs(
  r: Recorder,
  logits: Float32Array,
  rows: number,
  w: Warpers,
  more: Partial<SampleArgs> = {},
  state = new Uint32Array(5 * rows),
) {
  const vocab = logits.length / rows;
  const wordsPerRow = Math.ceil(vocab / 32);
  return {
    logits: hold(r, logits, [rows, vocab]),
    greedy: false,
    temperature: w.temperature,
    topP: w.topP,
    topK: w.topK,
    eosTokenId: w.banned,
    padTokenId: 0,
    minNewTokens: w.banned >= 0 ? 1 : 0,
    seeds: hold(
      r,
      Uint32Array.from({ length: rows }, (_, i) => 1000 + i),
    ),
    state: hold(r, state),
    tokens: hold(r, new Int32Array(rows).fill(-7)),
    tokenLog: hold(r, new Int32Array(rows).fill(-7)),
    logProbLog: hold(r, new Float32Array(rows).fill(NaN)),
    maskLog: hold(r, new Uint32Array(rows * wordsPerRow)),
    logStep: 0,
    ...more,
  } satisfies SampleArgs;
}

export const combinations: Warpers[] = [
  { temperature: 1, topK: 1000, topP: 1, banned: -1 },
  { temperature: 0.6, topK: 1000, topP: 1, banned: 3 },
  { temperature: 1, topK: 7, topP: 1, banned: -1 },
  { temperature: 1.4, topK: 1000, topP: 0.8, banned: -1 },
  { temperature: 0.9, topK: 9, topP: 0.7, banned: 2 },
];

/** Every temperature with and without top-k, top-p and a forbidden EOS. */
export const grid: Warpers[] = [0.6, 1, 1.4].flatMap((temperature) =>
  [1000, 7].flatMap((topK) =>
    [1, 0.8].flatMap((topP) => [-1, 3].map((banned) => ({ temperature, topK, topP, banned }))),
  ),
);

/** Upper 1e-6 quantile of chi-square with k degrees of freedom (Wilson–Hilferty). */
const chiSquareLimit = (k: number) => k * (1 - 2 / (9 * k) + 4.75 * Math.sqrt(2 / (9 * k))) ** 3;

/** Draws 512·steps tokens for each combination of warpers and compares their counts with the exact distribution. */
export async function expectDraws(
  r: Recorder,
  form: RowForm,
  steps: number,
  list: readonly Warpers[] = combinations,
): Promise<void> {
  const rand = random(8);
  const [rows, vocab] = [512, 23];
  const line = normal(vocab, rand, 1.5);
  line[11] = line[4]!;
  const logits = new Float32Array(rows * vocab);
  for (let i = 0; i < rows; i++) logits.set(line, i * vocab);
  for (const w of list) {
    const tokenLog = hold(r, new Int32Array(rows * steps), [steps, rows]);
    const logProbLog = hold(r, new Float32Array(rows * steps), [steps, rows]);
    const args = sampleArgs(r, logits, rows, w, { minNewTokens: 1000, tokenLog, logProbLog });
    for (let step = 0; step < steps; step++)
      sample(
        r,
        {
          ...args,
          maskLog: r.alloc([steps * rows], 'u32'),
          logStep: step,
        },
        form,
      );
    const counts = new Float64Array(vocab);
    for (const t of new Int32Array(await r.read(tokenLog))) counts[t]!++;
    const { probs, kept } = sampleReference(line, w);
    let chi = 0;
    let degrees = -1;
    for (let j = 0; j < vocab; j++) {
      if (!kept[j]) expect(counts[j]).toBe(0);
      else {
        const expected = probs[j]! * rows * steps;
        chi += (counts[j]! - expected) ** 2 / expected;
        degrees++;
      }
    }
    expect(degrees).toBeGreaterThan(2);
    expect(chi).toBeLessThan(chiSquareLimit(degrees));
  }
}
