/** Losses and gradients equal those of TRL's trainers on the same log-probs (tools/golden/make_trl.py made the numbers). */
import { readFileSync } from 'node:fs';

import { SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { leaveOneOut, normalizeGroup } from '../grpo/groups.js';
import { dpoLoss, type DpoLossOptions } from './dpo.js';
import { policyLoss, type PolicyLossOptions } from './policy.js';
import { simpoLoss } from './simpo.js';
import { compute, expectClose } from './test-losses.js';
import { sampleOf } from './test-policy.js';

const rows = z.array(z.array(z.number()));
const result = z.object({ loss: z.number(), grad: rows });
const option = z.union([z.number(), z.string()]);
const withOptions = result.extend({ options: z.record(z.string(), option) });
const golden = z
  .object({
    versions: z.object({ trl: z.string() }),
    groupSize: z.number(),
    lengths: z.array(z.number()),
    old: rows,
    new: rows,
    ref: rows,
    rewards: z.array(z.number()),
    normalized: z.array(z.number()),
    plain: z.array(z.number()),
    leaveOneOut: z.array(z.number()),
    grpo: z.array(withOptions),
    rloo: withOptions,
    dpo: result.extend({ beta: z.number() }),
    cdpo: withOptions,
    ipo: withOptions,
    simpo: withOptions,
  })
  .parse(
    JSON.parse(
      readFileSync(new URL('../__fixtures__/trl.json', import.meta.url), 'utf8'),
    ) as unknown,
  );

/** Rows without padding. */
const cut = (x: readonly (readonly number[])[]) => x.map((r, i) => r.slice(0, golden.lengths[i]));
const groupsOf = <T>(xs: readonly T[]) =>
  Array.from({ length: xs.length / golden.groupSize }, (_, i) =>
    xs.slice(i * golden.groupSize, (i + 1) * golden.groupSize),
  );

/** A prompt of one token before every answer. */
function policySample(advantages: readonly number[]) {
  return sampleOf(
    groupsOf(
      golden.lengths.map((n, i) => ({
        mask: Array<number>(n).fill(1),
        old: golden.old[i]!.slice(0, n),
        ref: golden.ref[i]!.slice(0, n),
        adv: Array<number>(n).fill(advantages[i]!),
      })),
    ),
  );
}
const base: PolicyLossOptions = {
  name: 'x',
  epsClip: 0.2,
  averaging: 'sequence',
  klCtl: 0,
  temperature: 1,
  logitsMask: false,
  earlyStopImpRatio: null,
  earlyStopKl: null,
};

function expectSame(
  got: { readonly loss: number; readonly dLogProbs?: Float32Array },
  want: z.infer<typeof result>,
) {
  // TRL computes in float32.
  expectClose([got.loss], [want.loss], 1e-5, 1e-6);
  expectClose(got.dLogProbs!, cut(want.grad).flat(), 2e-5, 1e-7);
}

const averaging = { grpo: 'sequence', bnpo: 'token', dapo: 'token', dr_grpo: 'constant' } as const;

describe(`TRL ${golden.versions.trl}`, () => {
  it.each(golden.grpo.map((g) => [JSON.stringify(g.options), g] as const))('grpo %s', (_, g) => {
    const o = g.options;
    const number = (name: string) => (o[name] === undefined ? undefined : Number(o[name]));
    const kind = z.enum(['grpo', 'bnpo', 'dapo', 'dr_grpo']).parse(o.loss_type);
    const loss = policyLoss({
      ...base,
      averaging: averaging[kind],
      lossNorm: Math.max(...golden.lengths),
      klCtl: number('beta') ?? 0,
      epsClip: number('epsilon_low') ?? 0.2,
      epsClipHigher: number('epsilon_high') ?? null,
      cClip: number('delta') ?? null,
      ratioLevel: o.importance_sampling_level === 'sequence' ? 'sequence' : 'token',
    });
    const sample = policySample(kind === 'dr_grpo' ? golden.plain : golden.normalized);
    const entropy = cut(golden.new);
    expectSame(compute(loss, sample, { logProbs: cut(golden.new), entropy }), g);
  });

  it('rloo', () => {
    const loss = policyLoss({ ...base, ratioLevel: 'product' });
    const logProbs = cut(golden.new);
    const sample = policySample(golden.leaveOneOut);
    expectSame(compute(loss, sample, { logProbs, entropy: logProbs }), golden.rloo);
  });

  it('advantages of groups', () => {
    const groups = groupsOf(golden.rewards);
    expectClose(groups.flatMap(leaveOneOut), golden.leaveOneOut, 1e-5);
    // TRL adds 1e-4 to the deviation, here it is the reference's 1e-5.
    expectClose(groups.flatMap(normalizeGroup), golden.normalized, 5e-4);
  });

  const pairs = groupsOf(golden.lengths).map((g) => g.map((n) => n + 1));
  const sums = golden.ref.map((r, i) => r.slice(0, golden.lengths[i]).reduce((a, b) => a + b, 0));
  const pairSample = new SequenceSample({
    ids: pairs.map((_, i) => `p${i}`),
    seqlens: {
      packed_input_ids: pairs,
      prompt_lens: pairs.map(() => [1]),
      seqlogp: pairs.map((g) => g.map(() => 1)),
    },
    data: {
      packed_input_ids: new Int32Array(pairs.flat().reduce((a, b) => a + b, 0)),
      prompt_lens: new Int32Array(pairs.length).fill(1),
      seqlogp: Float32Array.from(sums),
    },
    dtypes: { packed_input_ids: 'i32', prompt_lens: 'i32', seqlogp: 'f32' },
    trailingShapes: { packed_input_ids: [], prompt_lens: [], seqlogp: [] },
  });
  const dpo = (o: DpoLossOptions) => compute(dpoLoss(o), pairSample, { logProbs: cut(golden.new) });

  it('dpo, cdpo and ipo', () => {
    expect(golden.dpo.beta).toBe(0.1);
    expectSame(dpo({ beta: 0.1, lossType: 'sigmoid' }), golden.dpo);
    expectSame(dpo({ beta: 0.1, lossType: 'sigmoid', labelSmoothing: 0.2 }), golden.cdpo);
    expectSame(dpo({ beta: 0.1, lossType: 'ipo' }), golden.ipo);
  });

  it('simpo', () => {
    const out = compute(simpoLoss({ beta: 2, gamma: 0.7 }), pairSample, {
      logProbs: cut(golden.new),
    });
    expectSame(out, golden.simpo);
  });
});
