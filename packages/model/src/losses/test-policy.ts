/** Random prepared minibatches for tests of policy losses, and the loss written from the papers on ragged f64 rows. */
import { SequenceSample } from '@realhf/api';

import type { PolicyLossOptions } from './policy.js';
import { gaussian, uniform } from './test-losses.js';

/** A sequence: entries 0 … prompt − 2 are of the prompt. */
export interface Answer {
  readonly mask: readonly number[];
  readonly old: readonly number[];
  readonly ref: readonly number[];
  readonly adv: readonly number[];
}

/** Items of 2 or 3 answers after prompts of unequal lengths; some answers are empty. */
export function randomItems(n: number, seed: number): Answer[][] {
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

export function sampleOf(items: readonly (readonly Answer[])[]): SequenceSample {
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

/** Log-probs near the old ones. */
export function newLogProbs(items: readonly (readonly Answer[])[], seed: number, std = 0.3) {
  const g = gaussian(seed);
  return items.flat().map((a) => a.old.map((x) => Math.fround(x + g(std))));
}

const mean = (xs: readonly number[]) => xs.reduce((x, y) => x + y, 0) / xs.length;
const total = (xs: readonly number[]) => xs.reduce((x, y) => x + y, 0);

const kl = {
  k1: (p: number, r: number) => p - r,
  k2: (p: number, r: number) => (p - r) ** 2 / 2,
  k3: (p: number, r: number) => Math.exp(r - p) - 1 - (r - p),
};

/** The loss, and how far the nearest ratio is from a corner of the clips. */
export function naivePolicy(
  items: readonly (readonly Answer[])[],
  logProbs: readonly (readonly number[])[],
  entropy: readonly (readonly number[])[],
  o: PolicyLossOptions,
): { readonly loss: number; readonly corner: number } {
  let corner = Infinity;
  const high = 1 + (o.epsClipHigher ?? o.epsClip);
  const sequences = items.flat().flatMap((a, s) => {
    const kept = a.mask.flatMap((m, j) => (m ? [j] : []));
    if (kept.length === 0) return [];
    const diffs = kept.map((j) => logProbs[s]![j]! - a.old[j]!);
    return [
      kept.map((j, i) => {
        const logRatio =
          o.ratioLevel === 'sequence'
            ? mean(diffs)
            : o.ratioLevel === 'product'
              ? total(diffs)
              : diffs[i]!;
        const r = Math.exp(logRatio);
        const [p, A] = [logProbs[s]![j]!, a.adv[j]!];
        for (const at of [1 - o.epsClip, high, o.cClip ?? 1e9])
          corner = Math.min(corner, Math.abs(r - at));
        let objective = Math.min(r * A, Math.max(1 - o.epsClip, Math.min(high, r)) * A);
        if (o.cClip && A < 0) objective = Math.max(objective, o.cClip * A);
        if (o.objective === 'reinforce') objective = A * p;
        const penalty = o.klCtl === 0 ? 0 : kl[o.klEstimator ?? 'k3'](p, a.ref[j]!);
        return -objective + o.klCtl * penalty - (o.entropyCoeff ?? 0) * entropy[s]![j]!;
      }),
    ];
  });
  const loss = {
    token: () => mean(sequences.flat()),
    sequence: () => mean(sequences.map(mean)),
    sum: () => mean(sequences.map(total)),
    constant: () => mean(sequences.map((t) => total(t) / o.lossNorm!)),
  }[o.averaging]();
  return { loss, corner };
}
