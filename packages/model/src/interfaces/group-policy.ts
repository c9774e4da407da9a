/**
 * What GRPO and RLOO do with a model: several answers per prompt, the reference's log-probs of them, and the policy
 * update by how the answers of a prompt compare. An item holds the group_size answers to its prompt as sequences.
 */
import {
  normalizeGeneration,
  SequenceSample,
  type GenerationHyperparameters,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';

import { groupItems, repeatPrompts } from '../grpo/groups.js';
import { scoresOverRanks, statsOverRanks, whitenedOverRanks } from '../grpo/over-ranks.js';
import { prepareGrpo, type PrepareGroupOptions } from '../grpo/prepare.js';
import { answerMask } from '../losses/masks.js';
import { policyLoss, type PolicyLossOptions } from '../losses/policy.js';
import { validVocabRatio } from '../ppo/vocab-ratio.js';
import { samplingSeed } from './common.js';
import { trainMinibatches } from './minibatches.js';
import { rollout } from './rollout.js';

export interface GroupPolicyOptions {
  readonly gen: GenerationHyperparameters;
  readonly groupSize: number;
  readonly nMinibatches: number;
  readonly enableSave: boolean;
  /** Emit packed_logits_mask at generation, unless gen.force_no_logits_mask. */
  readonly logitsMask: boolean;
  readonly prepare: PrepareGroupOptions;
  readonly loss: Omit<PolicyLossOptions, 'temperature' | 'logitsMask'>;
}

export class GroupPolicyInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: GroupPolicyOptions;
  /** Of the distribution that generation draws from: greedy ignores the option. */
  private readonly temperature: number;

  constructor(options: GroupPolicyOptions) {
    this.options = options;
    this.enableSave = options.enableSave;
    const gen = normalizeGeneration(options.gen);
    this.temperature = gen.greedy ? 1 : gen.temperature;
  }

  /** Keys of a rollout. */
  async generate(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const { gen, groupSize, logitsMask } = this.options;
    const prompts = repeatPrompts(input, groupSize);
    const out = await model.engine.generate(prompts, gen, {
      ...call,
      eosTokenId: model.tokenizer.eosTokenId,
      padTokenId: model.tokenizer.padTokenId,
      seed: samplingSeed(model),
    });
    const flat = rollout(prompts, out, { logitsMask: logitsMask && !gen.force_no_logits_mask });
    return groupItems(flat, input.ids, groupSize);
  }

  /** Log-probs of the reference under the same temperature and filter that sampling used. */
  async inference(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const logp = await model.engine.logProbs(input, {
      ...call,
      temperature: this.temperature,
      ...(input.keys.has('packed_logits_mask') ? { maskKey: 'packed_logits_mask' } : {}),
      needed: (s) => answerMask(s),
    });
    const key = 'packed_ref_logprobs';
    return new SequenceSample({
      ids: input.ids,
      seqlens: { [key]: input.seqlens.packed_input_ids!.map((item) => item.map((l) => l - 1)) },
      data: { [key]: logp },
      dtypes: { [key]: 'f32' },
      trailingShapes: { [key]: [] },
    });
  }

  async trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    const { prepare, nMinibatches } = this.options;
    const { engine } = model;
    const whole = await scoresOverRanks(engine, input.f32('rewards'));
    const part = whole && { batchStd: whole.std, adv_norm: false };
    const { sample: own, mask, stats } = prepareGrpo(input, { ...prepare, ...part });
    const sample = whole && prepare.adv_norm ? await whitenedOverRanks(engine, own) : own;
    const loss = policyLoss({
      ...this.options.loss,
      temperature: this.temperature,
      logitsMask: sample.keys.has('packed_logits_mask'),
    });
    const trained = await trainMinibatches(model, sample, loss, nMinibatches, call);
    const vocab = validVocabRatio(sample, mask, engine.config.vocabSize);
    const shown = { ...stats, ...(vocab === undefined ? {} : { valid_vocab_ratio: vocab }) };
    return { ...(await statsOverRanks(engine, shown)), ...trained };
  }
}
