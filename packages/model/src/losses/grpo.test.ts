import { SequenceSample, type Stats } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { grpoLoss, type GrpoLossOptions } from './grpo.js';
import {
  compute,
  expectClose,
  expectGradient,
  expectMicrobatchInvariant,
  gaussian,
  uniform,
} from './test-losses.js';

/** A sequence: entries 0 … prompt − 2 are of the prompt. */
interface Answer {
  readonly mask: readonly number[];
  readonly old: readonly number[];
  readonly ref: readonly number[];
  readonly adv: readonly number[];
}
/** Items of 2 or 3 answers after prompts of unequal lengths; some answers are empty. */
function randomItems(n: number, seed: number): Answer[][] {
  const g = gaussian(seed);
  const u = uniform(seed + 1);
  const many = (k: number, std: number) => Array.from({ length: k }, () => g(std));
  return Array.from({ length: n }, () => {
    const prompt = 1 + Math.floor(u() * 4);
    return Array.from({ length: 2 + Math.floor(u() * 2) }, () => {
      const answer = u() < 0.15 ? 0 : 1 + Math.floor(u() * 5);
      const length = Math.max(2, prompt + answer);
      const a = g(1.5);
      return {
        mask: Array.from({ length: length - 1 }, (_, j) => +(j >= prompt - 1 && answer > 0)),
        old: many(length - 1, 0.3),
        ref: many(length - 1, 0.3),
        adv: Array.from({ length: length - 1 }, () => a),
      };
    });
  });
}
function sampleOf(items: readonly Answer[][]): SequenceSample {
  const all = items.flat();
  const short = items.map((item) => item.map((a) => a.mask.length));
  const f32 = (pick: (a: Answer) => readonly number[]) => Float32Array.from(all.flatMap(pick));
  const keys = ['old_logp', 'ref_logp', 'advantages', 'ppo_loss_mask'];
  return new SequenceSample({
    ids: items.map((_, i) => `p${i}`),
    seqlens: {
      packed_input_ids: short.map((item) => item.map((l) => l + 1)),
      ...Object.fromEntries(keys.map((k) => [k, short])),
    },
    data: {
      packed_input_ids: new Int32Array(all.reduce((n, a) => n + a.mask.length + 1, 0)),
      old_logp: f32((a) => a.old),
      ref_logp: f32((a) => a.ref),
      advantages: f32((a) => a.adv),
      ppo_loss_mask: Uint8Array.from(all.flatMap((a) => a.mask)),
    },
    dtypes: {
      packed_input_ids: 'i32',
      old_logp: 'f32',
      ref_logp: 'f32',
      advantages: 'f32',
      ppo_loss_mask: 'u8',
    },
    trailingShapes: Object.fromEntries(['packed_input_ids', ...keys].map((k) => [k, []])),
  });
}
const newLogProbs = (items: readonly Answer[][], seed: number) => {
  const g = gaussian(seed);
  return items.flat().map((a) => a.old.map((x) => Math.fround(x + g(0.3))));
};

/** From the papers' formulas, on ragged rows. */
function naive(
  items: readonly Answer[][],
  logProbs: readonly (readonly number[])[],
  o: GrpoLossOptions,
) {
  const perToken = items.flat().map((a, s) =>
    a.mask.flatMap((m, j) => {
      if (!m) return [];
      const p = logProbs[s]![j]!;
      const ratio = Math.exp(p - a.old[j]!);
      const cut = Math.max(1 - o.epsClip, Math.min(1 + o.epsClip, ratio));
      const surrogate = Math.min(ratio * a.adv[j]!, cut * a.adv[j]!);
      const k3 = Math.exp(a.ref[j]! - p) - (a.ref[j]! - p) - 1;
      return [{ loss: -surrogate + o.klCtl * k3, k3, ratio }];
    }),
  );
  const mean = (xs: readonly number[]) => xs.reduce((x, y) => x + y, 0) / xs.length;
  const tokens = perToken.flat();
  return {
    loss:
      o.averaging === 'token'
        ? mean(tokens.map((t) => t.loss))
        : mean(perToken.flatMap((s) => (s.length > 0 ? [mean(s.map((t) => t.loss))] : []))),
    k3: mean(tokens.map((t) => t.k3)),
    ratio: mean(tokens.map((t) => t.ratio)),
  };
}

const base = {
  epsClip: 0.2,
  klCtl: 0.1,
  temperature: 1,
  logitsMask: false,
  earlyStopImpRatio: 5,
  earlyStopKl: null,
};
const seeds = fc.record({ n: fc.integer({ min: 2, max: 5 }), seed: fc.nat(1e6) });

describe.each(['token', 'sequence'] as const)('grpo loss, averaged by %s', (averaging) => {
  const o: GrpoLossOptions = { ...base, averaging };
  it('is the clipped surrogate plus k3, with its gradient', () => {
    fc.assert(
      fc.property(seeds, ({ n, seed }) => {
        const items = randomItems(n, seed);
        const sample = sampleOf(items);
        fc.pre(sample.u8('ppo_loss_mask').includes(1));
        const logProbs = newLogProbs(items, seed + 2);
        const want = naive(items, logProbs, o);
        const out = compute(grpoLoss(o), sample, { logProbs, entropy: logProbs });
        expectClose([out.loss], [want.loss]);
        const mean = (name: string) => out.stats![name]!.sum / out.stats![name]!.count;
        expectClose(['kl_loss', 'importance_weight'].map(mean), [want.k3, want.ratio]);
        // Away from the corner of the clip, where differences straddle two branches.
        const near = items.flat().some((a, s) =>
          a.old.some((x, j) => {
            const r = Math.exp(logProbs[s]![j]! - x);
            return Math.min(Math.abs(r - 0.8), Math.abs(r - 1.2)) < 1e-4;
          }),
        );
        if (!near) expectGradient((x) => naive(items, x, o).loss, logProbs, out.dLogProbs!, seed);
      }),
      { seed: 8, numRuns: 150 },
    );
  });
  it('defect 13: microbatches of any cut add up', () => {
    fc.assert(
      fc.property(seeds, ({ n, seed }) => {
        const items = randomItems(n, seed);
        const sample = sampleOf(items);
        fc.pre(sample.u8('ppo_loss_mask').includes(1));
        const logProbs = newLogProbs(items, seed + 2);
        expectMicrobatchInvariant(grpoLoss(o), sample, { logProbs, entropy: logProbs }, seed);
      }),
      { seed: 9, numRuns: 80 },
    );
  });
});

describe('grpo loss', () => {
  it('at the old policy the gradient is that of the advantages, unclipped', () => {
    const items = randomItems(3, 4).map((item) => item.map((a) => ({ ...a, ref: a.old })));
    const sample = sampleOf(items);
    const logProbs = items.flat().map((a) => [...a.old]);
    const o: GrpoLossOptions = { ...base, averaging: 'token' };
    const out = compute(grpoLoss(o), sample, { logProbs, entropy: logProbs });
    const total = grpoLoss(o).weight(sample);
    expectClose(
      out.dLogProbs!,
      items.flat().flatMap((a) => a.adv.map((x, j) => (a.mask[j] ? -x / total : 0))),
    );
    expect([out.stats!.kl_loss!.sum, out.stats!.actor_clip_ratio!.sum]).toEqual([0, 0]);
  });
  it('stops early as ppo does', () => {
    const loss = grpoLoss({ ...base, averaging: 'token', earlyStopKl: 0.5 });
    const stop = (stats: Stats) => loss.skipStep?.(stats);
    expect(stop({ importance_weight: 6, ppo_approx_kl: 0 })).toMatch('importance ratio 6 > 5');
    expect(stop({ importance_weight: 1, ppo_approx_kl: -0.6 })).toMatch('approximate KL');
    expect(stop({ importance_weight: 1, ppo_approx_kl: 0.1 })).toBeUndefined();
  });
});
