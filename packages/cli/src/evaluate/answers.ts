/** Answers to held-out prompts: generation under a fixed seed, and the numbers that an evaluation needs of them. */
import {
  normalizeGeneration,
  type GenerationHyperparameters,
  type Model,
  type SequenceSample,
} from '@realhf/api';
import { rollout } from '@realhf/model';

export interface AnswerOptions {
  readonly gen: GenerationHyperparameters;
  /** Instead of drawing. */
  readonly greedy: boolean;
  readonly seed: number;
}

/** A rollout of a batch with `packed_prompts`; an id and the seed alone decide its draws. */
export async function answerPrompts(
  model: Pick<Model, 'engine' | 'tokenizer'>,
  prompts: SequenceSample,
  { gen, greedy, seed }: AnswerOptions,
): Promise<SequenceSample> {
  const out = await model.engine.generate(
    prompts,
    normalizeGeneration(greedy ? { ...gen, greedy } : gen),
    {
      eosTokenId: model.tokenizer.eosTokenId,
      padTokenId: model.tokenizer.padTokenId,
      seed,
    },
  );
  return rollout(prompts, out, { logitsMask: out.masks !== undefined });
}

/** Per sequence. */
export interface AnswerNumbers {
  /** New tokens, EOS included. */
  readonly lengths: readonly number[];
  /** Σ over new tokens of log π − log π_ref, in nats; absent without a reference. */
  readonly logRatios?: readonly number[];
  /** 1 where the length limit ended it. */
  readonly noEos: readonly number[];
}

/** Of a rollout; the reference is under the temperature and the filters that the answers were drawn with. */
export async function answerNumbers(
  sample: SequenceSample,
  { gen, greedy }: Pick<AnswerOptions, 'gen' | 'greedy'>,
  reference?: Pick<Model, 'engine'>,
): Promise<AnswerNumbers> {
  const normal = normalizeGeneration(greedy ? { ...gen, greedy } : gen);
  const ref = await reference?.engine.logProbs(sample, {
    temperature: normal.greedy ? 1 : normal.temperature,
    ...(sample.keys.has('packed_logits_mask') ? { maskKey: 'packed_logits_mask' } : {}),
  });
  const logp = sample.f32('packed_logprobs');
  const prompt = sample.u8('prompt_mask');
  const cu = sample.cuSeqlens('packed_input_ids');
  const lengths: number[] = [];
  const logRatios: number[] = [];
  for (let s = 0; s + 1 < cu.length; s++) {
    let n = 0;
    let sum = 0;
    for (let t = cu[s]! + 1; t < cu[s + 1]!; t++) {
      if (prompt[t]) continue;
      n++;
      // Shifted vectors have one entry less per sequence.
      if (ref) sum += logp[t - 1 - s]! - ref[t - 1 - s]!;
    }
    lengths.push(n);
    logRatios.push(sum);
  }
  return {
    lengths,
    ...(ref ? { logRatios } : {}),
    noEos: Array.from(sample.u8('seq_no_eos_mask')),
  };
}
