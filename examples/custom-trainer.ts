/**
 * A trainer made of parts: a device, Ops on it, a model, an optimizer engine, and a loss that the library does not know.
 * The loss is unlikelihood training (Welleck et al. 2019, arXiv 1908.04319): tokens of good sequences become likelier,
 * tokens of bad ones less likely. Good ones count up, bad ones count down; at the end the model goes on counting.
 *
 * In this repository: npm run example custom-trainer
 */
import {
  generationSchema,
  modelConfigSchema,
  optimizerSchema,
  SequenceSample,
  type Loss,
} from '@realhf/api';
import { AdamEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { ReaLModel } from '@realhf/model';

const vocabSize = 16;
const length = 8;
const steps = 24;

/** −log p for good sequences and −log(1 − p) for bad ones, per token. `good` is a key of the sample: one u8 an item. */
const unlikelihood: Loss = {
  name: 'unlikelihood',
  weight: (sample) => sample.lengths('packed_input_ids').reduce((n, l) => n + l - 1, 0),
  compute({ sample, cuSeqlens, logProbs = new Float32Array(), totalWeight }) {
    const good = sample.u8('good');
    const dLogProbs = new Float32Array(logProbs.length);
    let loss = 0;
    // Sequence s of L tokens has L − 1 log-probs: its first token is given.
    for (let s = 0, j = 0; s < good.length; s++) {
      for (let t = cuSeqlens[s]! + 1; t < cuSeqlens[s + 1]!; t++, j++) {
        const p = Math.min(Math.exp(logProbs[j]!), 1 - 1e-6);
        loss += good[s] ? -logProbs[j]! : -Math.log(1 - p);
        dLogProbs[j] = (good[s] ? -1 : p / (1 - p)) / totalWeight;
      }
    }
    return { loss: loss / totalWeight, dLogProbs };
  },
};

/** A batch: every start once upwards (good) and once downwards (bad). */
function batch(): SequenceSample {
  const items = Array.from({ length: 2 * vocabSize }, (_, i) => ({
    start: Math.floor(i / 2),
    step: i % 2 === 0 ? 1 : vocabSize - 1,
  }));
  const tokens = items.flatMap(({ start, step }) =>
    Array.from({ length }, (_, t) => (start + t * step) % vocabSize),
  );
  return new SequenceSample({
    ids: items.map((_, i) => `sequence-${i}`),
    seqlens: { packed_input_ids: items.map(() => [length]), good: items.map(() => [1]) },
    data: {
      packed_input_ids: Int32Array.from(tokens),
      good: Uint8Array.from(items, ({ step }) => (step === 1 ? 1 : 0)),
    },
    dtypes: { packed_input_ids: 'i32', good: 'u8' },
    trailingShapes: { packed_input_ids: [], good: [] },
  });
}

const gpu = await openGpu();
const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
const model = new ReaLModel({
  ops,
  config: modelConfigSchema.parse({
    family: 'llama',
    nLayers: 2,
    nHeads: 4,
    nKvHeads: 2,
    headDim: 8,
    hiddenDim: 32,
    intermediateDim: 64,
    vocabSize,
    maxPositions: 32,
    norm: 'rms',
    normEps: 1e-5,
    mlp: 'gated',
    activation: 'silu',
    rope: {},
    attentionScale: 1 / Math.sqrt(8),
  }),
});
model.init(1);
const optimizer = optimizerSchema.parse({ lr: 1e-2, weight_decay: 0 });
const engine = new AdamEngine(model, { optimizer, totalSteps: steps });

console.log(`training on ${ops.adapter}`);
for (let step = 0; step < steps; step++) {
  const stats = await engine.trainBatch(batch(), unlikelihood, { versionSteps: step, nMbs: 2 });
  if (step % 4 === 0 || step === steps - 1)
    console.log(`step ${step + 1} loss ${stats.loss!.toFixed(4)}`);
}

const prompts = new SequenceSample({
  ids: ['prompt'],
  seqlens: { packed_prompts: [[2]] },
  data: { packed_prompts: Int32Array.of(3, 4) },
  dtypes: { packed_prompts: 'i32' },
  trailingShapes: { packed_prompts: [] },
});
const gconfig = generationSchema.parse({ greedy: true, max_new_tokens: 6, min_new_tokens: 6 });
const { tokens } = await engine.generate(prompts, gconfig, {
  eosTokenId: null,
  padTokenId: null,
  seed: 1,
});
console.log(`3 4 → ${tokens[0]!.join(' ')}`);
ops.destroy();
