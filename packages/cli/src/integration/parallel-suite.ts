/**
 * The cases of parallel tests: a model cut over tensor- and pipeline-parallel ranks (loopback, one device) against the
 * same model on one rank. Outputs, gradients, a mask that empties a vocabulary shard, optimizer steps.
 */
import type { ForwardOptions, ForwardOutput, Loss, ModelConfig, Parallelism } from '@realhf/api';
import { AdamEngine, type WebGpuOps } from '@realhf/backends';
import { encodeKept, joinKept, type ReaLModel, type ReaLModelOptions } from '@realhf/model';
import { describe, expect, test } from 'vitest';

import {
  adamConfig,
  batchOf,
  expectTensorsClose,
  gpt2,
  llama,
  makeRanks,
  normal,
  relativeError,
  tokensSample,
  wholeTensors,
} from './harness.js';

/** Llama 3's rotary scaling, one kv head (every tensor-parallel rank holds it), tied embedding. */
const llama3 = llama({
  nKvHeads: 1,
  tiedEmbedding: true,
  rope: {
    type: 'llama3',
    base: 500000,
    factor: 8,
    lowFreqFactor: 1,
    highFreqFactor: 4,
    originalMaxPositions: 64,
  },
});
export const configs: Record<string, ModelConfig> = {
  llama: llama(),
  'llama3 with shared kv heads': llama3,
  // A vocabulary that no number of ranks divides.
  gpt2: gpt2({ vocabSize: 131 }),
  'llama critic': llama({ isCritic: true }),
  'gpt2 critic': gpt2({ isCritic: true }),
};
const options = (config: ModelConfig, more: Partial<ForwardOptions> = {}): ForwardOptions => ({
  train: true,
  ...(config.isCritic ? {} : { temperature: 0.8, entropy: true, logits: true }),
  ...more,
});

/** One forward and backward on every rank; outputs of the last stage, which must agree between its ranks. */
async function pass(
  ranks: readonly ReaLModel[],
  o: ForwardOptions,
  lengths: readonly number[],
): Promise<ForwardOutput> {
  const shifted = lengths.reduce((n, l) => n + l - 1, 0);
  const sample = tokensSample(ranks[0]!.config, lengths);
  const outputs = await Promise.all(
    ranks.map(async (model) => {
      const p = await model.forward(batchOf(sample), o);
      await p.backward(
        p.output && {
          ...(p.output.values ? { dValues: normal(shifted + lengths.length, 3) } : {}),
          ...(p.output.logProbs ? { dLogProbs: normal(shifted, 4) } : {}),
          ...(p.output.entropy ? { dEntropy: normal(shifted, 5) } : {}),
        },
      );
      await model.finishGradients();
      return p.output;
    }),
  );
  const last = outputs.filter((o) => o !== undefined);
  for (const o of last) expect(o).toEqual(last[0]);
  return last[0]!;
}

function expectSame(got: ForwardOutput, want: ForwardOutput): void {
  for (const key of ['logProbs', 'entropy', 'values', 'logits'] as const) {
    if (want[key]) expect(relativeError(got[key] ?? [], want[key]), key).toBeLessThan(1e-5);
    else expect(got[key]).toBeUndefined();
  }
}

export function release(...ranks: readonly ReaLModel[]): void {
  for (const r of ranks) r.free();
}

export const likelihood: Loss = {
  name: 'likelihood',
  temperature: 0.9,
  weight: (s) => s.lengths('packed_input_ids').reduce((n, l) => n + l - 1, 0),
  compute: ({ logProbs = new Float32Array(), totalWeight }) => ({
    loss: -logProbs.reduce((a, b) => a + b, 0) / totalWeight,
    dLogProbs: logProbs.map(() => -1 / totalWeight),
    stats: { nll: { sum: -logProbs.reduce((a, b) => a + b, 0), count: logProbs.length } },
  }),
};

const squares: Loss = {
  name: 'squares',
  weight: (s) => s.lengths('packed_input_ids').reduce((n, l) => n + l, 0),
  compute: ({ values = new Float32Array(), totalWeight }) => ({
    loss: values.reduce((a, v) => a + (v - 1) ** 2, 0) / totalWeight,
    dValues: values.map((v) => (2 * (v - 1)) / totalWeight),
    stats: { value: { sum: values.reduce((a, b) => a + b, 0), count: values.length } },
  }),
};

/** Tests of one layout against one rank; `names` of `configs`, `cut` for the ranks only. */
export function parallelSuite(
  ops: () => WebGpuOps,
  layout: Partial<Parallelism>,
  names: readonly string[] = Object.keys(configs),
  { lengths = [7, 5, 9], ...cut }: Partial<ReaLModelOptions> & { lengths?: readonly number[] } = {},
): void {
  describe(JSON.stringify({ ...layout, ...cut }), () => {
    test.each(names)('%s: outputs and gradients', async (name) => {
      const config = configs[name]!;
      const one = makeRanks(ops(), config);
      const many = makeRanks(ops(), config, layout, cut);
      expectSame(
        await pass(many, options(config), lengths),
        await pass(one, options(config), lengths),
      );
      expectTensorsClose(await wholeTensors(many, 'grads'), await wholeTensors(one, 'grads'), 1e-5);
      release(...one, ...many);
    });

    test('a mask that removes all tokens of one vocabulary shard', async () => {
      const config = llama();
      const { tokens, cuSeqlens } = batchOf(tokensSample(config, lengths));
      const words = config.vocabSize / 32;
      // Four neighbours of the label: on one shard.
      const bits = new Uint32Array(tokens.length * words);
      for (let t = 0; t + 1 < cuSeqlens.at(-1)!; t++) {
        const next = tokens[t + 1]!;
        bits[t * words + (next >> 5)] = 0xf << (next & 28);
      }
      const line = (t: number) => bits.subarray(t * words, (t + 1) * words);
      const mask = joinKept(Array.from(tokens, (_, t) => encodeKept(line(t), config.vocabSize)));
      const one = makeRanks(ops(), config);
      const many = makeRanks(ops(), config, layout, cut);
      const o = options(config, { mask });
      expectSame(await pass(many, o, lengths), await pass(one, o, lengths));
      expectTensorsClose(await wholeTensors(many, 'grads'), await wholeTensors(one, 'grads'), 1e-5);
      release(...one, ...many);
    });

    test.each(names)('%s: two optimizer steps', async (name) => {
      const config = configs[name]!;
      const sample = tokensSample(config, lengths);
      // A clip that bites, so that the global norm matters.
      const optimizer = adamConfig({ gradient_clipping: 0.05, lr: 1e-3, eps: 1e-3 });
      const run = async (ranks: readonly ReaLModel[]) => {
        const engines = ranks.map((r) => new AdamEngine(r, { optimizer, totalSteps: 10 }));
        const stats = [];
        for (let step = 0; step < 2; step++)
          stats.push(
            await Promise.all(
              engines.map((e) =>
                e.trainBatch(sample, config.isCritic ? squares : likelihood, {
                  versionSteps: step,
                  nMbs: 2,
                }),
              ),
            ),
          );
        for (const e of engines) e.free();
        return stats;
      };
      const one = makeRanks(ops(), config);
      const many = makeRanks(ops(), config, layout, cut);
      const want = await run(one);
      const got = await run(many);
      for (const [step, ofRanks] of got.entries())
        for (const s of ofRanks) {
          expect(Object.keys(s).sort()).toEqual(Object.keys(want[step]![0]!).sort());
          for (const [k, v] of Object.entries(want[step]![0]!))
            expect(Math.abs(s[k]! - v), k).toBeLessThan(1e-5 * Math.max(1, Math.abs(v)));
        }
      expectTensorsClose(
        await wholeTensors(many, 'params'),
        await wholeTensors(one, 'params'),
        1e-5,
      );
      release(...one, ...many);
    });
  });
}
