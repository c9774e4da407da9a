/**
 * Goes on from a prompt with a model of a Hugging Face folder. Without arguments it first teaches a tiny one a greeting,
 * and saves it as such a folder.
 *
 * In this repository: npm run example generate [MODEL_DIR PROMPT]
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { generationSchema, optimizerSchema, SequenceSample } from '@realhf/api';
import { AdamEngine, NetworkEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { ReaLModel, sftLoss } from '@realhf/model';
import {
  loadTokenizer,
  readCheckpointConfig,
  readCheckpointDir,
  writeCheckpointDir,
} from '@realhf/model/node';

import { writeCharacterFolder } from './character-folder.js';

const greeting = 'hello,world';
const gpu = await openGpu();
const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
const temporary = mkdtempSync(join(tmpdir(), 'generate-'));
try {
  const [dir, prompt] = process.argv.slice(3);
  const folder = dir ?? (await teach(join(temporary, 'model')));
  console.log(await complete(folder, prompt ?? greeting.slice(0, 3)));
} finally {
  rmSync(temporary, { recursive: true });
  ops.destroy();
}

/** Loads the folder and lets it go on from the prompt, greedily. */
async function complete(folder: string, prompt: string): Promise<string> {
  const checkpoint = await readCheckpointDir(folder);
  const { config } = checkpoint;
  const model = new ReaLModel({ ops, config });
  await checkpoint.stream((name, begin, values) => {
    model.loadRange(name, begin, values);
  });
  await checkpoint.close();

  const tokenizer = loadTokenizer(folder);
  const tokens = Int32Array.from(tokenizer.encode(prompt));
  const input = SequenceSample.fromDefault({
    ids: ['prompt'],
    seqlens: [tokens.length],
    data: { packed_prompts: tokens },
  });
  const { eosTokenId, padTokenId } = tokenizer;
  const { tokens: answers } = await new NetworkEngine(model).generate(
    input,
    generationSchema.parse({
      greedy: true,
      max_new_tokens: Math.min(64, config.maxPositions - tokens.length),
      min_new_tokens: 1,
    }),
    { eosTokenId, padTokenId, seed: 1 },
  );
  return prompt + tokenizer.decode(answers[0]!);
}

/** A model of 30 thousand parameters that has read the greeting a few times. */
async function teach(folder: string): Promise<string> {
  const start = `${folder}-untrained`; // config.json and a tokenizer
  writeCharacterFolder(start, 'helo,wrd');
  const tokenizer = loadTokenizer(start);
  const tokens = [...tokenizer.encode(greeting), tokenizer.eosTokenId!];
  const sample = SequenceSample.fromDefault({
    ids: ['greeting'],
    seqlens: [tokens.length],
    data: {
      packed_input_ids: Int32Array.from(tokens),
      prompt_mask: new Uint8Array(tokens.length),
    },
  });
  const model = new ReaLModel({ ops, config: await readCheckpointConfig(start) });
  model.init(1);
  const optimizer = optimizerSchema.parse({ lr: 1e-2, weight_decay: 0 });
  const engine = new AdamEngine(model, { optimizer, totalSteps: 20 });
  for (let step = 0; step < 20; step++)
    await engine.trainBatch(sample, sftLoss, { versionSteps: step });
  await writeCheckpointDir(folder, {
    config: model.config,
    getParam: (name) => model.dump(name),
    companionsFrom: start,
  });
  return folder;
}
