import { describe, expect, test } from 'vitest';

import {
  expectClose,
  expectDirectional,
  normal,
  random,
  relativeError,
} from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { logProbs, logProbsBackward } from './logprobs.js';
import { logProbsBackwardReference, logProbsReference } from './logprobs.reference.js';

const rand = random(21);

interface Case {
  readonly rows: number;
  readonly vocab: number;
  readonly valid?: number;
  readonly masked?: boolean;
  readonly temperature: number;
}
const cases: Case[] = [
  { rows: 1, vocab: 1, temperature: 1 },
  { rows: 3, vocab: 37, temperature: 1 },
  { rows: 13, vocab: 128, valid: 101, temperature: 0.7 },
  { rows: 9, vocab: 67, masked: true, temperature: 1.6 },
  { rows: 5, vocab: 2051, valid: 2003, masked: true, temperature: 1 },
];

function setup(c: Case) {
  const { rows, vocab } = c;
  const valid = c.valid ?? vocab;
  const words = Math.ceil(vocab / 32);
  const labels = Int32Array.from({ length: rows }, (_, i) =>
    i % 4 === 2 ? -1 : Math.floor(rand() * valid),
  );
  const bits = new Uint32Array(rows * words);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < vocab; j++)
      if (!c.masked || j === labels[i] || rand() < 0.4)
        bits[i * words + (j >> 5)]! |= 1 << (j & 31);
  const kept = (i: number, j: number) =>
    j < valid && ((bits[i * words + (j >> 5)]! >>> (j & 31)) & 1) === 1;
  const logits = normal(rows * vocab, rand, 3);
  const dLogProbs = normal(rows, rand).map((x, i) => (labels[i]! < 0 ? 0 : x));
  const dEntropy = normal(rows, rand);
  return {
    shape: { rows, vocab, temperature: c.temperature, kept },
    labels,
    bits,
    logits,
    dLogProbs,
    dEntropy,
  };
}

test('the reference gradient is the derivative of the reference', () => {
  for (const c of cases) {
    const { shape, labels, logits, dLogProbs, dEntropy } = setup(c);
    expectDirectional(
      ([x]) => {
        const y = logProbsReference(shape, x!, labels);
        return y.logProbs.reduce(
          (a, l, i) => a + l * dLogProbs[i]! + y.entropy[i]! * dEntropy[i]!,
          0,
        );
      },
      [logits],
      [logProbsBackwardReference(shape, logits, labels, dLogProbs, dEntropy)],
      rand,
    );
  }
});

onAdapters((r) => {
  const up = (data: Float32Array | Uint32Array | Int32Array, shape = [data.length]) => {
    const dtype =
      data instanceof Uint32Array ? 'u32' : data instanceof Int32Array ? 'i32' : ('f32' as const);
    const t = r().alloc(shape, dtype);
    r().write(t, data);
    return t;
  };
  const down = async (t: ReturnType<typeof up>) => new Float32Array(await r().read(t));
  const poison = (...shape: number[]) =>
    up(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(NaN), shape);

  describe.each(['row', 'workgroup'] as const)('by %s', (form) => {
    for (const c of cases)
      test(`${c.rows}×${c.vocab}${c.masked ? ' masked' : ''}`, async () => {
        const { shape, labels, bits, logits, dLogProbs, dEntropy } = setup(c);
        const { rows, vocab } = c;
        const args = {
          logits: up(logits, [rows, vocab]),
          labels: up(labels),
          temperature: c.temperature,
          ...(c.masked ? { mask: up(bits) } : {}),
          ...(c.valid === undefined ? {} : { validVocab: c.valid }),
          logProbs: poison(rows),
          lse: poison(rows),
          entropy: poison(rows),
        };
        logProbs(r(), args, form);
        const want = logProbsReference(shape, logits, labels);
        const got = await down(args.logProbs);
        expectClose(got, want.logProbs, 1e-6, 3e-6);
        expectClose(await down(args.lse), want.lse, 1e-6, 3e-6);
        expectClose(await down(args.entropy), want.entropy, 1e-5, 5e-6);
        const again = poison(rows);
        logProbs(r(), { ...args, logProbs: again }, form);
        expect(await down(again)).toEqual(got);

        const back = { ...args, dLogProbs: up(dLogProbs), dEntropy: up(dEntropy) };
        const dLogits = poison(rows, vocab);
        logProbsBackward(r(), { ...back, dLogits });
        const grad = await down(dLogits);
        const wantGrad = logProbsBackwardReference(shape, logits, labels, dLogProbs, dEntropy);
        if (vocab > 1) expect(relativeError(grad, wantGrad)).toBeLessThan(5e-6);
        expectClose(grad, wantGrad, 1e-4, 2e-6);
        wantGrad.forEach((g, i) => {
          if (!shape.kept(Math.floor(i / vocab), i % vocab)) expect(grad[i]).toBe(g);
        });
        logProbsBackward(r(), { ...back, dLogits: args.logits });
        expect(await down(args.logits)).toEqual(grad);
      });
  });

  test('without entropy, and a removed label', async () => {
    const logits = up(Float32Array.of(1, 2, 3, 4, 5, 6), [2, 3]);
    const args = {
      logits,
      labels: up(Int32Array.of(0, 1)),
      temperature: 1,
      mask: up(Uint32Array.of(0b110, 0b111)),
      logProbs: poison(2),
      lse: poison(2),
    };
    logProbs(r(), args);
    const got = await down(args.logProbs);
    expect(got[0]).toBeLessThan(-3e38);
    expectClose([got[1]!], [5 - Math.log(Math.exp(4) + Math.exp(5) + Math.exp(6))], 1e-6);
    const dLogits = poison(2, 3);
    logProbsBackward(r(), { ...args, dLogProbs: up(Float32Array.of(0, 1)), dLogits });
    expectClose((await down(dLogits)).subarray(0, 3), [0, 0, 0], 0, 0);
    expect(() => {
      logProbs(r(), { ...args, temperature: 0 });
    }).toThrow(/temperature 0/);
  });
});
