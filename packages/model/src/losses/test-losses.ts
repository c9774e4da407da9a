/**
 * Checks that every loss passes: one direction of its gradient against central differences of a naive f64 reference,
 * and that microbatches add up to the whole. Sequences are ragged here, packed only for the code under test.
 */
import type { Loss, LossOutput, SequenceSample } from '@realhf/api';
import { expect } from 'vitest';

/** Seeded uniform numbers in [0, 1) (mulberry32). */
export function uniform(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Seeded normal numbers, rounded to f32. */
export function gaussian(seed: number): (std?: number) => number {
  const u = uniform(seed);
  return (std = 1) =>
    Math.fround(std * Math.sqrt(-2 * Math.log(1 - u())) * Math.cos(2 * Math.PI * u()));
}

export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  rel = 1e-5,
  abs = 1e-6,
): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!);
    if (!(error <= abs + rel * Math.abs(want[i]!)))
      throw new Error(`element ${i}: got ${got[i]!}, want ${want[i]!}`);
  }
}

/** grad · d against (f(x + εd) − f(x − εd)) / 2ε for a random d; `x` stays ragged. */
export function expectGradient(
  f: (x: number[][]) => number,
  x: readonly (readonly number[])[],
  grad: ArrayLike<number>,
  seed: number,
  eps = 1e-6,
): void {
  const u = uniform(seed);
  const d = x.map((row) => row.map(() => 2 * u() - 1));
  const at = (t: number) => f(x.map((row, i) => row.map((v, j) => v + t * d[i]![j]!)));
  const numeric = (at(eps) - at(-eps)) / (2 * eps);
  const analytic = d.flat().reduce((sum, v, i) => sum + v * grad[i]!, 0);
  const scale = Math.max(Math.abs(numeric), Math.abs(analytic), 1e-2);
  if (!(Math.abs(numeric - analytic) <= 1e-5 * scale))
    throw new Error(`differences say ${numeric}, the gradient ${analytic}`);
}

/** Outputs of a model per sequence: logProbs and entropy have L − 1 entries, values L. */
export type Outputs = Partial<Record<'logProbs' | 'entropy' | 'values', number[][]>>;

export function compute(
  loss: Loss,
  sample: SequenceSample,
  outputs: Outputs,
  totalWeight = loss.weight(sample),
): LossOutput {
  const packed = Object.fromEntries(
    Object.entries(outputs).map(([k, rows]) => [k, Float32Array.from(rows.flat())]),
  );
  const cuSeqlens = sample.cuSeqlens('packed_input_ids');
  return loss.compute({ sample, cuSeqlens, ...packed, totalWeight });
}

/** Any cut of the sample's items, with the same totalWeight, gives the same loss, gradients and stats. */
export function expectMicrobatchInvariant(
  loss: Loss,
  sample: SequenceSample,
  outputs: Outputs,
  seed: number,
): void {
  const u = uniform(seed);
  const total = loss.weight(sample);
  const whole = compute(loss, sample, outputs);
  const parts: LossOutput[] = [];
  let weights = 0;
  for (let begin = 0, row = 0; begin < sample.bs;) {
    const end = Math.min(sample.bs, begin + 1 + Math.floor(u() * 3));
    const mb = sample.slice(begin, end);
    const rows = mb.lengths('packed_input_ids').length;
    const cut = Object.fromEntries(
      Object.entries(outputs).map(([k, all]) => [k, all.slice(row, row + rows)]),
    );
    parts.push(compute(loss, mb, cut, total));
    weights += loss.weight(mb);
    begin = end;
    row += rows;
  }
  expect(weights).toBe(total);
  const sum = (pick: (o: LossOutput) => number) => parts.reduce((a, o) => a + pick(o), 0);
  expectClose([sum((o) => o.loss)], [whole.loss], 1e-12, 1e-12);
  for (const name of ['dLogProbs', 'dEntropy', 'dValues'] as const)
    expect(parts.flatMap((o) => [...(o[name] ?? [])])).toEqual([...(whole[name] ?? [])]);
  for (const [name, stat] of Object.entries(whole.stats ?? {})) {
    expectClose([sum((o) => o.stats?.[name]?.sum ?? 0)], [stat.sum], 1e-12, 1e-12);
    expect(sum((o) => o.stats?.[name]?.count ?? 0)).toBe(stat.count);
  }
}
