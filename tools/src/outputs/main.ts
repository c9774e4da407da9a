/**
 * What the product computes from a checkpoint, for tools/golden/check_checkpoint.py and check_peft.py to compare: tokens of texts, logits
 * or critic values of every position, greedy continuations. Sequences run packed, in one batch.
 */
import { readFileSync } from 'node:fs';

import { SequenceSample } from '@realhf/api';
import { NetworkEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { ReaLModel } from '@realhf/model';
import {
  loadTokenizer,
  readCheckpointDir,
  readPeftDir,
  writePeftDir,
  writeSafetensors,
  type SafetensorsTensor,
} from '@realhf/model/node';

/** A sequence is a text, or tokens where the checkpoint has no tokenizer. */
interface Request {
  readonly sequences: readonly (string | readonly number[])[];
  readonly newTokens: number;
  /** A PEFT folder that is put on the checkpoint, and where to save it again. */
  readonly adapter?: string;
  readonly saveAdapter?: string;
}

/**
 * `args`: checkpoint folder, file with a Request, file to write: `tokens.<i>`, and `logits.<i>` [L, vocab] and
 * `greedy.<i>` of a language model or `values.<i>` [L] of a critic.
 */
export async function main(_root: string, args: readonly string[]): Promise<number> {
  const [dir = '', requestFile = '', outFile = ''] = args;
  const request = JSON.parse(readFileSync(requestFile, 'utf8')) as Request;
  const tokenized = request.sequences.map((s) =>
    typeof s === 'string' ? loadTokenizer(dir).encode(s) : s,
  );
  const sample = SequenceSample.fromDefault({
    ids: tokenized.map((_, i) => `${i}`),
    seqlens: tokenized.map((s) => s.length),
    data: { packed_input_ids: Int32Array.from(tokenized.flatMap((s) => [...s])) },
  });
  const cuSeqlens = sample.cuSeqlens('packed_input_ids');
  const out: Record<string, SafetensorsTensor> = {};
  tokenized.forEach((s, i) => {
    out[`tokens.${i}`] = { dtype: 'I32', shape: [s.length], data: Int32Array.from(s) };
  });

  const gpu = await openGpu();
  const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
  const checkpoint = await readCheckpointDir(dir);
  const { config } = checkpoint;
  const base = new ReaLModel({ ops, config });
  await checkpoint.load((name, full) => {
    base.load(name, full);
  });
  const model = request.adapter === undefined ? base : await withAdapter(base, request.adapter);
  if (model.adapter && request.saveAdapter !== undefined)
    await writePeftDir(request.saveAdapter, {
      config,
      lora: model.adapter.lora,
      getParam: (name) => model.dump(name),
      base: dir,
    });
  const pass = await model.forward(
    { tokens: sample.i32('packed_input_ids'), cuSeqlens },
    { train: false, logits: !config.isCritic },
  );
  const width = config.isCritic ? 1 : config.vocabSize;
  const all = (config.isCritic ? pass.output?.values : pass.output?.logits) ?? new Float32Array();
  tokenized.forEach((s, i) => {
    out[`${config.isCritic ? 'values' : 'logits'}.${i}`] = {
      dtype: 'F32',
      shape: config.isCritic ? [s.length] : [s.length, width],
      data: all.slice(cuSeqlens[i]! * width, cuSeqlens[i + 1]! * width),
    };
  });
  if (!config.isCritic) {
    const generated = await new NetworkEngine(model).generate(
      sample.remapKeys({ packed_input_ids: 'packed_prompts' }),
      {
        max_new_tokens: request.newTokens,
        min_new_tokens: 0,
        greedy: true,
        top_p: 1,
        top_k: config.vocabSize,
        temperature: 1,
        force_no_logits_mask: true,
      },
      { eosTokenId: config.eosTokenId, padTokenId: config.padTokenId, seed: 1 },
    );
    generated.tokens.forEach((t, i) => {
      out[`greedy.${i}`] = { dtype: 'I32', shape: [t.length], data: t };
    });
  }
  await writeSafetensors(outFile, out);
  for (const m of new Set([model, base])) m.free();
  await checkpoint.close();
  ops.destroy();
  console.log(JSON.stringify({ adapter: gpu.adapterName, family: config.family }));
  return 0;
}

async function withAdapter(base: ReaLModel, dir: string): Promise<ReaLModel> {
  const { ops, config } = base;
  const { lora, params } = await readPeftDir(dir, config);
  const model = new ReaLModel({ ops, config, adapter: { base, lora } });
  for (const [name, values] of params) model.load(name, values);
  return model;
}
