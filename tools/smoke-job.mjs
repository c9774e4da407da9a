// Runs in a folder where only the packed packages are installed: imports every export named on the command line, then
// trains a tiny random model and lets it generate.
import assert from 'node:assert/strict';

for (const entry of process.argv.slice(2)) {
  const names = Object.keys(await import(entry));
  assert(names.length > 0, `${entry} exports nothing`);
}

const { SequenceSample, generationSchema, modelConfigSchema, optimizerSchema } =
  await import('@realhf/api');
const { partitionBalanced } = await import('@realhf/packing');
const { ReaLModel, sftLoss } = await import('@realhf/model');
const { AdamEngine, WebGpuOps } = await import('@realhf/backends');
const { openGpu } = await import('@realhf/backends/node');

const cuts = partitionBalanced([5, 1, 1, 5], 2);
assert(JSON.stringify(cuts).includes('2'), `partitionBalanced gave ${JSON.stringify(cuts)}`);

const gpu = await openGpu();
const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
const config = modelConfigSchema.parse({
  family: 'llama',
  nLayers: 1,
  nHeads: 2,
  nKvHeads: 1,
  headDim: 8,
  hiddenDim: 16,
  intermediateDim: 32,
  vocabSize: 32,
  maxPositions: 64,
  norm: 'rms',
  normEps: 1e-5,
  mlp: 'gated',
  activation: 'silu',
  rope: {},
  attentionScale: 8 ** -0.5,
});
const model = new ReaLModel({ ops, config });
model.init(1);
const engine = new AdamEngine(model, {
  optimizer: optimizerSchema.parse({ lr: 1e-2, lr_scheduler_type: 'constant' }),
  totalSteps: 3,
});
const tokens = Int32Array.of(1, 2, 3, 4, 5, 6);
const sample = new SequenceSample({
  ids: ['a'],
  seqlens: { packed_input_ids: [[6]], prompt_mask: [[6]] },
  data: { packed_input_ids: tokens, prompt_mask: Uint8Array.of(1, 1, 0, 0, 0, 0) },
  dtypes: { packed_input_ids: 'i32', prompt_mask: 'u8' },
  trailingShapes: { packed_input_ids: [], prompt_mask: [] },
});
const losses = [];
for (let step = 0; step < 3; step++)
  losses.push((await engine.trainBatch(sample, sftLoss, { versionSteps: step })).loss);
assert(losses[2] < losses[0], `losses ${losses.join(', ')} do not fall`);

const prompts = new SequenceSample({
  ids: ['p'],
  seqlens: { packed_prompts: [[2]] },
  data: { packed_prompts: Int32Array.of(1, 2) },
  dtypes: { packed_prompts: 'i32' },
  trailingShapes: { packed_prompts: [] },
});
const { tokens: generated } = await engine.generate(
  prompts,
  generationSchema.parse({ max_new_tokens: 4, min_new_tokens: 4 }),
  { eosTokenId: 0, padTokenId: 0, seed: 1 },
);
assert.equal(generated[0].length, 4);
ops.destroy();
process.exit(0);
