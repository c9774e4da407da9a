/**
 * What the tests of mixtures of experts share: variants of a small model, an objective with the auxiliary losses in it, and
 * its gradient against finite differences.
 */
import { moeSchema, type ModelConfig, type MoeStats } from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';
import type { ReaLModel } from '@realhf/model';
import { expect } from 'vitest';
import type { z } from 'zod';

import { batchOf, llama, makeModel, normal, tokensSample } from './harness.js';

export const lengths = [7, 5, 9];

export function mixtral(
  moe: z.input<typeof moeSchema>,
  change: Partial<ModelConfig> = {},
): ModelConfig {
  return llama({
    family: 'mixtral',
    intermediateDim: 24,
    moe: moeSchema.parse({ numExperts: 4, ...moe }),
    ...change,
  });
}
const losses = { auxLossCoeff: 0.3, zLossCoeff: 0.02 };
export const variants: Record<string, ModelConfig> = {
  'top 2': mixtral(losses),
  'top 1 of 8': mixtral({ ...losses, numExperts: 8, topK: 1 }),
  'capacity by weight': mixtral({ ...losses, capacityFactor: 0.6 }),
  'capacity by position': mixtral({
    ...losses,
    capacityFactor: 0.6,
    tokenDropPolicy: 'position',
  }),
  'sinkhorn top 2, jitter, dropout': mixtral(
    { ...losses, routing: 'sinkhorn', inputJitterEps: 0.1 },
    { residDropout: 0.2, embdDropout: 0.1 },
  ),
  'sinkhorn top 1': mixtral({ ...losses, routing: 'sinkhorn', topK: 1 }),
};
export const noise = { noiseSeeds: Uint32Array.of(11, 12, 13) };

/** Σ of the log-probs with fixed factors, and the auxiliary losses times `auxWeight`; gradients if `back`. */
export async function objective(
  model: ReaLModel,
  back: boolean,
  seed = 5,
): Promise<{ value: number; stats: MoeStats }> {
  const sample = tokensSample(model.config, lengths, seed);
  const d = normal(
    lengths.reduce((n, l) => n + l - 1, 0),
    4,
  );
  const auxWeight = 0.7;
  let stats: MoeStats | undefined;
  const pass = await model.forward(batchOf(sample), {
    train: true,
    auxWeight,
    onMoeStats: (s) => (stats = s),
    ...noise,
  });
  const value = pass.output!.logProbs!.reduce((s, x, i) => s + x * d[i]!, 0);
  if (back) await pass.backward({ dLogProbs: d });
  pass.release();
  return { value: value + auxWeight * (stats!.auxLoss + stats!.zLoss), stats: stats! };
}

/** `seed` of the tokens: one with which no choice turns within the differences. */
export async function checkMoeGradient(ops: WebGpuOps, name: string, seed?: number): Promise<void> {
  const config = variants[name]!;
  const model = makeModel(ops, config);
  model.gradients();
  const { stats } = await objective(model, true, seed);
  expect(stats.auxLoss > 0).toBe(config.moe!.routing === 'aux_loss');
  expect(stats.zLoss).toBeGreaterThan(0);
  expect(stats.dropped > 0).toBe(name.startsWith('capacity'));
  const bad: string[] = [];
  for (const [i, spec] of model.specs.entries()) {
    if (!/mlp|wte|1\.attn\.o/.test(spec.name)) continue;
    const [at, g] = [await model.dump(spec.name), await model.dump(spec.name, 'grads')];
    // With the signs of the gradient no component hides behind another.
    const raw = normal(g.length, 90 + i).map((x, k) => Math.abs(x) * Math.sign(g[k]!));
    const norm = Math.hypot(...raw);
    const analytic = g.reduce((s, x, k) => s + x * raw[k]!, 0) / norm;
    const shifted = async (h: number) => {
      model.load(
        spec.name,
        at.map((x, k) => x + (h * raw[k]!) / norm),
      );
      return (await objective(model, false, seed)).value;
    };
    const h = 4e-3;
    const near = (await shifted(h)) - (await shifted(-h));
    const far = (await shifted(2 * h)) - (await shifted(-2 * h));
    model.load(spec.name, at);
    const numeric = (8 * near - far) / (12 * h);
    if (!(Math.abs(numeric - analytic) <= 4e-3 * Math.abs(analytic)))
      bad.push(`${spec.name}: ${numeric} by differences, ${analytic} by gradient`);
  }
  expect(bad).toEqual([]);
  model.free();
}
