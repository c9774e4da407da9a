/** Gradients of whole models against finite differences (fourth order, in each parameter tensor and in all at once). */
import type { ForwardOptions, ModelConfig, Ops } from '@realhf/api';
import { encodeKept, joinKept, type ReaLModel } from '@realhf/model';
import { expect, test } from 'vitest';

import {
  batchOf,
  gpt2,
  llama,
  makeModel,
  normal,
  tokensSample,
  uniform,
  useOps,
} from './harness.js';

const ops = useOps();
const lengths = [7, 5];

/** A linear functional of what the head gives: its gradient in those vectors is the coefficients. */
function coefficients(config: ModelConfig): {
  dValues?: Float32Array;
  dLogProbs?: Float32Array;
  dEntropy?: Float32Array;
} {
  const shifted = lengths.reduce((n, l) => n + l - 1, 0);
  return config.isCritic
    ? { dValues: normal(shifted + lengths.length, 71) }
    : { dLogProbs: normal(shifted, 72), dEntropy: normal(shifted, 73) };
}

async function objective(model: ReaLModel, options: ForwardOptions): Promise<number> {
  const { config } = model;
  const pass = await model.forward(batchOf(tokensSample(config, lengths)), options);
  const c = coefficients(config);
  const dot = (a: Float32Array = new Float32Array(), b: Float32Array = new Float32Array()) =>
    a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const { values, logProbs, entropy } = pass.output!;
  const out = dot(c.dValues, values) + dot(c.dLogProbs, logProbs) + dot(c.dEntropy, entropy);
  if (options.train) await pass.backward(c);
  return out;
}

/** Keeps each label and about half of the rest. */
function halfMask(config: ModelConfig): Uint8Array {
  const { tokens, cuSeqlens } = batchOf(tokensSample(config, lengths));
  const words = Math.ceil(config.vocabSize / 32);
  const u = uniform(9);
  const mask = Uint32Array.from({ length: tokens.length * words }, () => Math.floor(u() * 2 ** 32));
  for (let t = 0; t + 1 < cuSeqlens.at(-1)!; t++) {
    const next = tokens[t + 1]!;
    mask[t * words + (next >> 5)]! |= 1 << (next & 31);
  }
  const line = (t: number) => mask.subarray(t * words, (t + 1) * words);
  return joinKept(Array.from(tokens, (_, t) => encodeKept(line(t), config.vocabSize)));
}

async function checkGradient(
  device: Ops,
  model: ReaLModel,
  options: Omit<ForwardOptions, 'train'>,
): Promise<void> {
  model.gradients().forEach((g) => {
    device.fill(g, 0);
  });
  await objective(model, { ...options, train: true });
  const names = model.specs.map((s) => s.name);
  const params = new Map<string, Float32Array>();
  const grads = new Map<string, Float32Array>();
  for (const name of names) {
    params.set(name, await model.dump(name));
    grads.set(name, await model.dump(name, 'grads'));
  }
  /** Derivative of the objective along `d` of these tensors, by finite differences and by the gradient. */
  const derivative = async (tensors: readonly string[], d: (name: string) => Float32Array) => {
    const norm = Math.sqrt(tensors.reduce((s, n) => d(n).reduce((q, x) => q + x * x, s), 0));
    const at = async (h: number) => {
      for (const name of tensors) {
        const direction = d(name);
        model.load(
          name,
          params.get(name)!.map((x, i) => x + (h * direction[i]!) / norm),
        );
      }
      return objective(model, { ...options, train: false });
    };
    const h = 0.02;
    const near = (await at(h)) - (await at(-h));
    const far = (await at(2 * h)) - (await at(-2 * h));
    for (const name of tensors) model.load(name, params.get(name)!);
    const analytic =
      tensors.reduce((s, n) => grads.get(n)!.reduce((q, g, i) => q + g * d(n)[i]!, s), 0) / norm;
    return { numeric: (8 * near - far) / (12 * h), analytic };
  };
  const bad: string[] = [];
  const compare = (what: string, r: { numeric: number; analytic: number }) => {
    const error = Math.abs(r.numeric - r.analytic) / Math.abs(r.analytic);
    if (!(error <= 2e-3))
      bad.push(`${what}: ${r.numeric} by differences, ${r.analytic} by gradient`);
  };
  // Random sizes with the signs of the gradient: no component can hide behind another.
  const random = new Map(
    names.map((n, k) => {
      const g = grads.get(n)!;
      return [n, normal(g.length, 500 + k).map((x, i) => Math.abs(x) * Math.sign(g[i]!))];
    }),
  );
  compare('all', await derivative(names, (n) => random.get(n)!));
  for (const name of names) compare(name, await derivative([name], (n) => random.get(n)!));
  expect(bad).toEqual([]);
}

for (const [family, config] of Object.entries({
  llama: llama(),
  'gpt2 of an odd vocabulary': gpt2({ vocabSize: 101 }),
})) {
  test(`${family}: log-probs and entropy at temperature 0.7 under a mask`, async () => {
    const model = makeModel(ops(), config);
    await checkGradient(ops(), model, { temperature: 0.7, entropy: true, mask: halfMask(config) });
    model.free();
  });
  test(`${family}: values of a critic`, async () => {
    const model = makeModel(ops(), { ...config, isCritic: true });
    await checkGradient(ops(), model, {});
    model.free();
  });
}
