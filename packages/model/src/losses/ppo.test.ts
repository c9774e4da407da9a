import { SequenceSample, type HostArray } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { ppoActorLoss, ppoCriticLoss } from './ppo.js';
import {
  compute,
  expectClose,
  expectGradient,
  expectMicrobatchInvariant,
  gaussian,
  uniform,
} from './test-losses.js';

const eps = 0.2;
const actorOptions = {
  epsClip: eps,
  temperature: 1,
  logitsMask: false,
  earlyStopImpRatio: null,
  earlyStopKl: null,
};
const lengths = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 7 });
const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
const clamp = (x: number, lo: number, hi: number) => (x < lo ? lo : x > hi ? hi : x);
/** `make` until the drawn value is clear of a kink, where no derivative exists. */
function clear<T>(make: () => T, ok: (x: T) => boolean): T {
  for (;;) {
    const x = make();
    if (ok(x)) return x;
  }
}

/** f32 keys with L − 1 entries per sequence, and the mask of entries that count. */
function sampleOf(
  lens: readonly number[],
  mask: readonly (readonly number[])[],
  keys: Readonly<Record<string, readonly (readonly number[])[]>>,
): SequenceSample {
  const packed = Object.entries(keys).map(([k, rows]): [string, HostArray] => [
    k,
    Float32Array.from(rows.flat()),
  ]);
  const all: Record<string, HostArray> = {
    ppo_loss_mask: Uint8Array.from(mask.flat()),
    ...Object.fromEntries(packed),
  };
  const short = lens.map((l) => [l - 1]);
  const names = Object.keys(all);
  const each = <T>(f: (k: string) => T) => Object.fromEntries(names.map((k) => [k, f(k)]));
  return new SequenceSample({
    ids: lens.map((_, i) => `s${i}`),
    seqlens: { packed_input_ids: lens.map((l) => [l]), ...each(() => short) },
    data: { packed_input_ids: new Int32Array(lens.reduce((a, b) => a + b, 0)), ...all },
    dtypes: {
      packed_input_ids: 'i32',
      ...each((k): 'u8' | 'f32' => (k === 'ppo_loss_mask' ? 'u8' : 'f32')),
    },
    trailingShapes: { packed_input_ids: [], ...each(() => []) },
  });
}

interface ActorCase {
  mask: number[][];
  old: number[][];
  adv: number[][];
  p: number[][];
  entropy: number[][];
}
/** A third of the ratios moderate, a third near 1, some extreme; some advantages 0; the first sequences all prompt. */
function actorCase(lens: readonly number[], seed: number): ActorCase {
  const g = gaussian(seed);
  const u = uniform(seed + 1);
  const rows = (f: () => number) => lens.map((l) => Array.from({ length: l - 1 }, f));
  const old = rows(() => -Math.abs(g(2)));
  const move = () => (u() < 0.1 ? (u() < 0.5 ? 7 : -7) : g(u() < 0.5 ? 0.05 : 0.6));
  const offKink = (d: number) =>
    Math.abs(Math.exp(d) - 1 - eps) > 1e-3 && Math.abs(Math.exp(d) - 1 + eps) > 1e-3;
  return {
    mask: lens.map((l, i) =>
      Array.from({ length: l - 1 }, () => (i % 4 === 0 && lens.length > 1 ? 0 : u() < 0.7 ? 1 : 0)),
    ),
    old,
    adv: rows(() => (u() < 0.1 ? 0 : g())),
    p: old.map((row) =>
      row.map((o) =>
        clear(
          () => Math.fround(o + move()),
          (p) => offKink(p - o),
        ),
      ),
    ),
    entropy: rows(() => Math.abs(g())),
  };
}
const actorSample = (lens: readonly number[], c: ActorCase) =>
  sampleOf(lens, c.mask, { old_logp: c.old, advantages: c.adv });

function naiveActor(c: ActorCase, p = c.p, entropy = c.entropy, entropyCoeff = 0) {
  const terms: number[] = [];
  const ratios: number[] = [];
  const diffs: number[] = [];
  const clipped: number[] = [];
  const entropies: number[] = [];
  c.mask.forEach((row, i) => {
    row.forEach((m, j) => {
      if (m === 0) return;
      const ratio = Math.exp(p[i]![j]! - c.old[i]![j]!);
      const a = c.adv[i]![j]!;
      terms.push(-Math.min(a * ratio, a * clamp(ratio, 1 - eps, 1 + eps)));
      clipped.push(a * clamp(ratio, 1 - eps, 1 + eps) < a * ratio ? 1 : 0);
      ratios.push(ratio);
      diffs.push(p[i]![j]! - c.old[i]![j]!);
      entropies.push(entropy[i]![j]!);
    });
  });
  return {
    n: terms.length,
    loss: mean(terms) - entropyCoeff * mean(entropies),
    stats: [mean(terms), mean(clipped), mean(diffs), mean(ratios), mean(entropies)],
  };
}
const actorStats = [
  'actor_loss',
  'actor_clip_ratio',
  'ppo_approx_kl',
  'importance_weight',
  'entropy',
];

describe('ppo actor loss', () => {
  it('is the clipped surrogate over masked-in tokens, with its gradients', () => {
    let clippedCases = 0;
    fc.assert(
      fc.property(lengths, fc.nat(), fc.constantFrom(0, 0.3), (lens, seed, entropyCoeff) => {
        const c = actorCase(lens, seed);
        const loss = ppoActorLoss({ ...actorOptions, entropyCoeff });
        const sample = actorSample(lens, c);
        fc.pre(loss.weight(sample) > 0);
        const want = naiveActor(c, c.p, c.entropy, entropyCoeff);
        const out = compute(loss, sample, { logProbs: c.p, entropy: c.entropy });
        expect(loss.weight(sample)).toBe(want.n);
        expectClose([out.loss], [want.loss]);
        expectClose(
          actorStats.map((s) => out.stats![s]!.sum / out.stats![s]!.count),
          want.stats,
        );
        clippedCases += out.stats!.actor_clip_ratio!.sum > 0 ? 1 : 0;
        const at = (p: number[][], h: number[][]) => naiveActor(c, p, h, entropyCoeff).loss;
        expectGradient((p) => at(p, c.entropy), c.p, out.dLogProbs!, seed);
        const dEntropy = out.dEntropy ?? new Float32Array(out.dLogProbs!.length);
        expectGradient((h) => at(c.p, h), c.entropy, dEntropy, seed);
      }),
      { seed: 5, numRuns: 300 },
    );
    expect(clippedCases).toBeGreaterThan(50);
  });

  it('cuts the gradient on the clipped side only', () => {
    const one = (adv: number, ratio: number) => {
      const c = { mask: [[1]], old: [[0]], adv: [[adv]], p: [[Math.log(ratio)]], entropy: [[0]] };
      const out = compute(ppoActorLoss(actorOptions), actorSample([2], c), {
        logProbs: c.p,
        entropy: c.entropy,
      });
      return [out.loss, out.dLogProbs![0]!, out.stats!.actor_clip_ratio!.sum];
    };
    expectClose(one(1, 1.5), [-1.2, 0, 1]);
    expectClose(one(1, 0.5), [-0.5, -0.5, 0]);
    expectClose(one(-1, 1.5), [1.5, 1.5, 0]);
    expectClose(one(-1, 0.5), [0.8, 0, 1]);
    expectClose(one(-1, 5e8), [5e8, 5e8, 0]);
    expectClose(one(1, 5e8), [-1.2, 0, 1]);
    expectClose(one(-1, 2e-9), [0.8, 0, 1]);
    expectClose(one(0, 3), [0, 0, 0]);
    expectClose(one(2, 1), [-2, -2, 0]);
  });

  it('ignores masked-out entries, whatever they hold', () => {
    const c = actorCase([4], 1);
    c.mask = [[0, 1, 0]];
    c.p = [[NaN, -1, Infinity]];
    c.old = [[0, -1, 0]];
    c.adv = [[NaN, 2, NaN]];
    const out = compute(ppoActorLoss(actorOptions), actorSample([4], c), {
      logProbs: c.p,
      entropy: c.entropy,
    });
    expect(out.loss).toBe(-2);
    expect([...out.dLogProbs!]).toEqual([0, -2, 0]);
  });

  it('defect 13: microbatches of any cut add up', () => {
    fc.assert(
      fc.property(lengths, fc.nat(), (lens, seed) => {
        const c = actorCase(lens, seed);
        const loss = ppoActorLoss({ ...actorOptions, entropyCoeff: 0.1 });
        const sample = actorSample(lens, c);
        fc.pre(loss.weight(sample) > 0);
        expectMicrobatchInvariant(loss, sample, { logProbs: c.p, entropy: c.entropy }, seed);
      }),
      { seed: 6, numRuns: 100 },
    );
  });

  it('asks the engine for the distribution that was sampled from', () => {
    const loss = ppoActorLoss({ ...actorOptions, temperature: 0.7, logitsMask: true });
    expect([loss.temperature, loss.maskKey]).toEqual([0.7, 'packed_logits_mask']);
    expect(ppoActorLoss(actorOptions).maskKey).toBeUndefined();
    const sample = actorSample([3], { ...actorCase([3], 2), mask: [[0, 1]] });
    expect([...loss.needed!(sample)]).toEqual([0, 1]);
  });

  it('stops early on the mean ratio or the mean log ratio of all microbatches', () => {
    const stop = (o: Partial<typeof actorOptions> | object, ratio: number, kl: number) =>
      ppoActorLoss({ ...actorOptions, ...o }).skipStep!({
        importance_weight: ratio,
        ppo_approx_kl: kl,
      });
    expect(stop({}, 1e9, 1e9)).toBeUndefined();
    expect(stop({ earlyStopImpRatio: 5 }, 5, 9)).toBeUndefined();
    expect(stop({ earlyStopImpRatio: 5 }, 5.1, 0)).toBe('importance ratio 5.1 > 5');
    expect(stop({ earlyStopKl: 0.1 }, 9, 0.1)).toBeUndefined();
    expect(stop({ earlyStopKl: 0.1 }, 1, 0.2)).toMatch(/approximate KL 0.2/);
    expect(stop({ earlyStopKl: 0.1 }, 1, -0.2)).toMatch(/approximate KL -0.2/);
  });
});

interface CriticCase {
  mask: number[][];
  old: number[][];
  target: number[][];
  values: number[][];
}
function criticCase(lens: readonly number[], seed: number): CriticCase {
  const g = gaussian(seed);
  const u = uniform(seed + 1);
  const c: CriticCase = { mask: [], old: [], target: [], values: [] };
  for (const l of lens) {
    const row = Array.from({ length: l - 1 }, () =>
      clear(
        () => {
          const old = g();
          const target = g(u() < 0.2 ? 30 : 1);
          return { old, target, v: Math.fround(old + g(u() < 0.5 ? 0.1 : 1)) };
        },
        ({ old, target, v }) => {
          const near = old + clamp(v - old, -eps, eps);
          const moved = Math.abs(v - old);
          const tie = Math.abs(Math.abs(v - target) - Math.abs(near - target)) < 1e-3;
          return Math.abs(moved - eps) > 1e-3 && !(moved > eps && tie);
        },
      ),
    );
    c.mask.push(row.map(() => (u() < 0.8 ? 1 : 0)));
    c.old.push(row.map((r) => r.old));
    c.target.push(row.map((r) => r.target));
    c.values.push([...row.map((r) => r.v), g()]);
  }
  return c;
}
const criticSample = (lens: readonly number[], c: CriticCase) =>
  sampleOf(lens, c.mask, { returns: c.target, old_values: c.old });

function naiveCritic(c: CriticCase, values: readonly (readonly number[])[], huber: boolean) {
  const f = (d: number) =>
    huber && Math.abs(d) >= 10 ? 10 * (Math.abs(d) - 5) : 0.5 * Math.pow(d, 2);
  const terms: number[] = [];
  const clipped: number[] = [];
  c.mask.forEach((row, i) => {
    row.forEach((m, t) => {
      if (m === 0) return;
      const [v, old, target] = [values[i]![t]!, c.old[i]![t]!, c.target[i]![t]!];
      const free = f(v - target);
      const held = f(old + clamp(v - old, -eps, eps) - target);
      terms.push(Math.max(free, held));
      clipped.push(Math.abs(v - old) > eps && held > free ? 1 : 0);
    });
  });
  return { n: terms.length, loss: mean(terms), clipped: mean(clipped) };
}

describe('ppo critic loss', () => {
  it.each([false, true])('is the clipped value loss, with its gradient (huber: %s)', (huber) => {
    const loss = ppoCriticLoss({ valueEpsClip: eps, huber });
    let clippedCases = 0;
    fc.assert(
      fc.property(lengths, fc.nat(), (lens, seed) => {
        const c = criticCase(lens, seed);
        const sample = criticSample(lens, c);
        fc.pre(loss.weight(sample) > 0);
        const want = naiveCritic(c, c.values, huber);
        const out = compute(loss, sample, { values: c.values });
        expect(loss.weight(sample)).toBe(want.n);
        expectClose([out.loss], [want.loss]);
        const { value_loss, value_clip_ratio } = out.stats!;
        expectClose(
          [value_loss!.sum / value_loss!.count, value_clip_ratio!.sum / value_clip_ratio!.count],
          [want.loss, want.clipped],
        );
        clippedCases += value_clip_ratio!.sum > 0 ? 1 : 0;
        expectGradient((x) => naiveCritic(c, x, huber).loss, c.values, out.dValues!, seed);
      }),
      { seed: 7, numRuns: 300 },
    );
    expect(clippedCases).toBeGreaterThan(50);
  });

  it('keeps the slope where old + (v − old) rounds away from v', () => {
    // 0.15 + (1e-9 − 0.15) ≠ 1e-9 in f64: nothing was clipped all the same.
    const v = Math.fround(1.1e-12);
    const c = { mask: [[1]], old: [[Math.fround(0.15)]], target: [[1]], values: [[v, 0]] };
    expect(c.old[0]![0]! + (v - c.old[0]![0]!)).not.toBe(v);
    const out = compute(ppoCriticLoss({ valueEpsClip: eps }), criticSample([2], c), {
      values: c.values,
    });
    expect(out.stats!.value_clip_ratio!.sum).toBe(0);
    expectClose(out.dValues!, [-1, 0]);
  });

  it('defect 13: microbatches of any cut add up', () => {
    const loss = ppoCriticLoss({ valueEpsClip: eps });
    fc.assert(
      fc.property(lengths, fc.nat(), (lens, seed) => {
        const c = criticCase(lens, seed);
        const sample = criticSample(lens, c);
        fc.pre(loss.weight(sample) > 0);
        expectMicrobatchInvariant(loss, sample, { values: c.values }, seed);
      }),
      { seed: 8, numRuns: 100 },
    );
  });
});
