/** Continuations of prompts by a saved model, with the numbers that the report needs. */
import { readFileSync } from 'node:fs';

import { SequenceSample, type Ops, type Tokenizer } from '@realhf/api';
import { NetworkEngine } from '@realhf/backends';
import { ReaLModel, rollout } from '@realhf/model';
import { readCheckpointDir } from '@realhf/model/node';
import { z } from 'zod';

import { evalGeneration } from './preset.js';

export interface Prompt {
  readonly id: string;
  readonly prompt: string;
}

export function readPrompts(path: string): Prompt[] {
  const record = z.object({ id: z.string(), prompt: z.string() });
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => record.parse(JSON.parse(line)));
}

/** A checkpoint on the device; free it. */
export async function openModel(ops: Ops, dir: string, isCritic = false): Promise<ReaLModel> {
  const checkpoint = await readCheckpointDir(dir, { isCritic });
  const model = new ReaLModel({ ops, config: checkpoint.config });
  await checkpoint.load((name, full) => {
    model.load(name, full);
  });
  await checkpoint.close();
  return model;
}

export interface Continuations {
  /** Text after the prompt, by prompt. */
  readonly texts: readonly string[];
  /** Prompt and continuation with PPO's keys. */
  readonly sample: SequenceSample;
}

/** Samples one continuation per prompt; the same seed gives two models the same draws. */
export async function continueTexts(
  model: ReaLModel,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  seed: number,
): Promise<Continuations> {
  const encoded = prompts.map((p) => tokenizer.encode(p.prompt));
  const packed = new Int32Array(encoded.reduce((n, e) => n + e.length, 0));
  let at = 0;
  for (const e of encoded) {
    packed.set(e, at);
    at += e.length;
  }
  const input = SequenceSample.fromDefault({
    ids: prompts.map((p) => p.id),
    seqlens: encoded.map((e) => e.length),
    data: { packed_prompts: packed },
  });
  const out = await new NetworkEngine(model).generate(input, evalGeneration, {
    eosTokenId: tokenizer.eosTokenId,
    padTokenId: tokenizer.padTokenId,
    seed,
    nMbs: Math.ceil(prompts.length / 64),
  });
  const texts = out.tokens.map((tokens) => {
    const words = tokens.filter((t) => t !== tokenizer.eosTokenId && t !== tokenizer.padTokenId);
    return words.length === 0 ? '' : tokenizer.decode(words);
  });
  return {
    texts,
    sample: rollout(input, out, { logitsMask: false }),
  };
}

/** Score of the last token of every sequence. */
export async function rewardsOf(reward: ReaLModel, sample: SequenceSample): Promise<Float32Array> {
  const values = await new NetworkEngine(reward).values(sample, {
    nMbs: Math.ceil(sample.bs / 64),
  });
  const cu = sample.cuSeqlens('packed_input_ids');
  return Float32Array.from({ length: cu.length - 1 }, (_, s) => values[cu[s + 1]! - 1]!);
}

/** Mean over sampled tokens of log π − log π_ref, in nats; the sample's own log-probs are π's. */
export async function klPerToken(reference: ReaLModel, sample: SequenceSample): Promise<number> {
  const ref = await new NetworkEngine(reference).logProbs(sample, {
    nMbs: Math.ceil(sample.bs / 64),
  });
  const logp = sample.f32('packed_logprobs');
  const prompt = sample.u8('prompt_mask');
  const cu = sample.cuSeqlens('packed_input_ids');
  let sum = 0;
  let n = 0;
  for (let s = 0, j = 0; s + 1 < cu.length; s++) {
    for (let t = cu[s]! + 1; t < cu[s + 1]!; t++, j++) {
      if (prompt[t]) continue;
      sum += logp[j]! - ref[j]!;
      n++;
    }
  }
  return sum / Math.max(1, n);
}
