/** A model family of one's own, with nothing but what the packages export: registered, loaded, run, and saved again. */
import { modelConfigSchema } from '@realhf/api';
import {
  configFromHf,
  configToHf,
  hfFamilies,
  ReaLModel,
  weightsFromHf,
  weightsToHf,
  type HfFamily,
  type HfTensor,
} from '@realhf/model';
import { expect, test } from 'vitest';

import { useOps } from './harness.js';

/** One layer without positions to speak of, tensors under names of its own, its MLP stored transposed. */
const tiny: HfFamily = {
  name: 'tiny',
  modelType: 'tiny',
  architectures: { causal: 'TinyForCausalLM', critic: 'TinyForSequenceClassification' },
  basePrefix: 'tiny.',
  ignored: /^$/,
  configFromHf: (json) =>
    modelConfigSchema.parse({
      family: 'tiny',
      nLayers: 1,
      nHeads: 2,
      nKvHeads: 2,
      headDim: 8,
      hiddenDim: 16,
      intermediateDim: 16,
      vocabSize: json.words,
      maxPositions: 32,
      norm: 'rms',
      normEps: 1e-6,
      mlp: 'plain',
      activation: 'relu',
      rope: {},
      tiedEmbedding: true,
      attentionScale: 0.5,
    }),
  configToHf: (config) => ({
    architectures: ['TinyForCausalLM'],
    model_type: 'tiny',
    words: config.vocabSize,
  }),
  tensors(config) {
    const whole = (hf: string, param: string, hfShape: number[], transposed = false) => ({
      hf: `tiny.${hf}`,
      hfShape,
      param,
      rows: [0, hfShape[transposed ? 1 : 0]!] as const,
      transposed,
    });
    return [
      whole('words', '0.wte.weight', [config.vocabSize, 16]),
      whole('norm1', '1.attn.ln.weight', [16]),
      whole('look', '1.attn.qkv.weight', [48, 16]),
      whole('mix', '1.attn.o.weight', [16, 16]),
      whole('norm2', '1.mlp.ln.weight', [16]),
      whole('think', '1.mlp.fc.weight', [16, 16], true),
      whole('say', '1.mlp.down.weight', [16, 16], true),
      whole('norm3', '2.ln_f.weight', [16]),
    ];
  },
};

const ops = useOps();

test('a family registered from outside loads, runs and is saved as it was', async () => {
  hfFamilies.register('tiny', tiny);
  const json = { architectures: ['TinyForCausalLM'], words: 64 };
  const config = configFromHf(json);
  expect(configToHf(config)).toMatchObject(json);

  const stored = new Map<string, HfTensor>();
  for (const [i, { hf, hfShape }] of tiny.tensors(config).entries()) {
    const size = hfShape.reduce((a, b) => a * b, 1);
    const data = Float32Array.from({ length: size }, (_, k) => Math.sin(k + 100 * i));
    stored.set(hf, { name: hf, shape: hfShape, data });
  }
  const model = new ReaLModel({ ops: ops(), config });
  await weightsFromHf(
    config,
    {
      name: 'memory',
      names: () => [...stored.keys()],
      shape: (n) => stored.get(n)?.shape,
      read: (n) => Promise.resolve(stored.get(n)!.data),
    },
    (name, full) => {
      model.load(name, full);
    },
  );
  const pass = await model.forward(
    { tokens: Int32Array.of(1, 2, 3), cuSeqlens: Int32Array.of(0, 3) },
    { train: false },
  );
  expect(pass.output!.logProbs!.every((p) => p < 0)).toBe(true);
  for await (const t of weightsToHf(config, (name) => model.dump(name)))
    expect(t.data).toEqual(stored.get(t.name)!.data);
  model.free();
});
