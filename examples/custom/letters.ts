/** The toy task of grpo.ts and remax.ts: a tiny random model over 16 letters is to write `a` (token 0) as often as it can. */
import { generationSchema, modelConfigSchema, optimizerSchema, SequenceSample } from '@realhf/api';
import { AdamEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { ReaLModel, rollout } from '@realhf/model';

const vocabSize = 16;
export const prompts = 8;

/** A model with an optimizer, on the best adapter that there is. */
export async function openEngine(steps: number, lr: number): Promise<AdamEngine> {
  const gpu = await openGpu();
  const ops = new WebGpuOps({ device: gpu.device, adapter: gpu.adapterName, isCpu: gpu.isCpu });
  const config = modelConfigSchema.parse({
    ...{ family: 'llama', nLayers: 1, nHeads: 2, nKvHeads: 2, headDim: 16, hiddenDim: 32 },
    ...{ intermediateDim: 64, vocabSize, maxPositions: 32, norm: 'rms', normEps: 1e-5 },
    ...{ mlp: 'gated', activation: 'silu', rope: {}, attentionScale: 1 / Math.sqrt(16) },
  });
  const model = new ReaLModel({ ops, config });
  model.init(1);
  const optimizer = optimizerSchema.parse({ lr, weight_decay: 0 });
  return new AdamEngine(model, { optimizer, totalSteps: steps });
}

/**
 * Each prompt, a pair of letters, is answered `times` by eight. @returns packed_input_ids, prompt_mask and packed_logprobs,
 * the log-probs under which tokens were drawn: one less than tokens in each sequence, 0 at prompts.
 */
export async function answer(
  engine: AdamEngine,
  options: { readonly times: number; readonly greedy: boolean; readonly seed: number },
): Promise<SequenceSample> {
  const pairs = Array.from({ length: prompts }, (_, p) => [p, p + 1]);
  const repeated = pairs.flatMap((pair) => Array.from({ length: options.times }, () => pair));
  const input = SequenceSample.fromDefault({
    ids: repeated.map((_, i) => `answer-${i}`),
    seqlens: repeated.map((pair) => pair.length),
    data: { packed_prompts: Int32Array.from(repeated.flat()) },
  });
  const gconfig = generationSchema.parse({
    ...{ greedy: options.greedy, max_new_tokens: 8, min_new_tokens: 8 },
    ...{ top_p: 1, top_k: vocabSize },
  });
  const ends = { eosTokenId: null, padTokenId: null, seed: options.seed };
  return rollout(input, await engine.generate(input, gconfig, ends), { logitsMask: false });
}

/** The share of `a` in each answer. */
export function rewards(answers: SequenceSample): number[] {
  const tokens = answers.i32('packed_input_ids');
  const isPrompt = answers.u8('prompt_mask');
  let at = 0;
  return answers.lengths('packed_input_ids').map((length) => {
    let [right, all] = [0, 0];
    for (const end = at + length; at < end; at++) {
      if (isPrompt[at]) continue;
      all += 1;
      if (tokens[at] === 0) right += 1;
    }
    return right / all;
  });
}

/** The answers with `advantages`, the sequence's own at each of its log-probs. */
export function withAdvantages(answers: SequenceSample, ofSequence: readonly number[]) {
  const lengths = answers.lengths('packed_input_ids');
  const advantages = lengths.flatMap((l, s) => Array<number>(l - 1).fill(ofSequence[s]!));
  const sample = SequenceSample.fromDefault({
    ids: answers.ids,
    seqlens: lengths,
    data: { advantages: Float32Array.from(advantages) },
  });
  sample.update(answers);
  return sample;
}

/** Mean of numbers. */
export const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
