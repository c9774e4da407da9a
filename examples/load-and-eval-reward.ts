/**
 * Loads a reward model, as `real rw` saves it, and scores the pairs of a file: how often the preferred answer gets the
 * higher score, and by how much. Without arguments it first trains a tiny one for a minute's fraction and saves that.
 *
 * In this repository: npm run example load-and-eval-reward [MODEL_DIR PAIRS.jsonl]
 * In transformers the same folder opens as AutoModelForSequenceClassification.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { modelConfigSchema, optimizerSchema, type SequenceSample } from '@realhf/api';
import { AdamEngine, NetworkEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { openRwPairs, rwPairOptions } from '@realhf/cli';
import { pairedRewardLoss, ReaLModel } from '@realhf/model';
import { loadTokenizer, readCheckpointDir, writeCheckpointDir } from '@realhf/model/node';

const [givenModel, givenPairs] = process.argv.slice(3);
const assets = join(
  dirname(createRequire(import.meta.url).resolve('@realhf/cli/package.json')),
  'assets/quickstart',
);
const gpu = await openGpu();
const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
const temporary = mkdtempSync(join(tmpdir(), 'reward-model-'));
try {
  const folder = givenModel ?? (await trainTiny(join(temporary, 'model')));
  await evaluate(folder, givenPairs ?? join(assets, 'rw-valid.jsonl'));
} finally {
  rmSync(temporary, { recursive: true });
  ops.destroy();
}

/** Reads the folder: config, weights in pieces to the device, tokenizer. */
async function evaluate(folder: string, pairsPath: string): Promise<void> {
  const checkpoint = await readCheckpointDir(folder, { isCritic: true });
  const model = new ReaLModel({ ops, config: checkpoint.config });
  await checkpoint.stream((name, begin, values) => {
    model.loadRange(name, begin, values);
  });
  await checkpoint.close();

  const engine = new NetworkEngine(model);
  const options = rwPairOptions.parse({
    train_path: pairsPath,
    valid_path: pairsPath,
    train_bs_n_seqs: 1,
  });
  const { valid } = await openRwPairs(options, loadTokenizer(folder), 1);
  let pairs = 0;
  let right = 0;
  let margin = 0;
  for (const batch of valid ?? []) {
    const scores = lastOfEach(batch, await engine.values(batch, { maxTokensPerMb: 4096 }));
    // Sequences lie as preferred, rejected, preferred, rejected, …
    for (let i = 0; i < scores.length; i += 2) {
      const difference = scores[i]! - scores[i + 1]!;
      pairs += 1;
      right += difference > 0 ? 1 : 0;
      margin += difference;
    }
  }
  // 95 % of the time the true rate is within this of the measured one (normal approximation).
  const rate = right / pairs;
  const half = 1.96 * Math.sqrt((rate * (1 - rate)) / pairs);
  console.log(
    `${pairs} pairs: accuracy ${rate.toFixed(3)} ± ${half.toFixed(3)}, mean margin ${(margin / pairs).toFixed(3)}`,
  );
}

/** A sequence's score is the value of its last token. */
function lastOfEach(batch: SequenceSample, values: Float32Array): number[] {
  let end = 0;
  return batch
    .lengths('packed_input_ids')
    .flat()
    .map((length) => values[(end += length) - 1]!);
}

/** A model of 80 thousand parameters after a few steps on the quickstart's pairs. */
async function trainTiny(folder: string): Promise<string> {
  const steps = 40;
  const model = new ReaLModel({
    ops,
    config: modelConfigSchema.parse({
      family: 'llama',
      ...{ nLayers: 1, nHeads: 2, nKvHeads: 2, headDim: 16, hiddenDim: 32, intermediateDim: 64 },
      ...{ vocabSize: 2304, maxPositions: 64, norm: 'rms', normEps: 1e-5, mlp: 'gated' },
      ...{ activation: 'silu', rope: {}, attentionScale: 1 / Math.sqrt(16), isCritic: true },
    }),
  });
  model.init(1);
  const optimizer = optimizerSchema.parse({ lr: 1e-2, weight_decay: 0 });
  const engine = new AdamEngine(model, { optimizer, totalSteps: steps });
  const options = rwPairOptions.parse({
    train_path: join(assets, 'rw-train.jsonl'),
    train_bs_n_seqs: 16,
  });
  const { train } = await openRwPairs(options, loadTokenizer(assets), 1);
  for (let step = 0; step < steps; step++) {
    const stats = await engine.trainBatch((await train.next(16))!, pairedRewardLoss, {
      versionSteps: step,
    });
    if (step % 8 === 7) console.log(`step ${step + 1} loss ${stats.loss!.toFixed(3)}`);
  }
  await writeCheckpointDir(folder, { config: model.config, getParam: (name) => model.dump(name) });
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(assets, file), join(folder, file));
  return folder;
}
