/**
 * Interface `remax` (Li et al., arXiv 2310.10505; reference: A9): REINFORCE whose baseline is the reward of the greedy
 * answer. One interface serves both generations: prompts under the key `greedy_prompts` are answered greedily.
 */
import {
  normalizeGeneration,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import { z } from 'zod';

import { scoresOverRanks, statsOverRanks, whitenedOverRanks } from '../grpo/over-ranks.js';
import { policyLoss } from '../losses/policy.js';
import { policyLossOptions, policyLossShape } from '../ppo/policy-options.js';
import { validVocabRatio } from '../ppo/vocab-ratio.js';
import { remaxOptionsSchema } from '../remax/options.js';
import { prepareRemax } from '../remax/prepare.js';
import { samplingSeed } from './common.js';
import { trainMinibatches } from './minibatches.js';
import { rollout } from './rollout.js';

const schema = remaxOptionsSchema.extend({
  enable_save: z.boolean().default(true),
  /** Emit packed_logits_mask at generation, unless gen.force_no_logits_mask. */
  logits_mask: z.boolean().default(true),
});

/** Options of RemaxInterface. */
export type RemaxInterfaceOptions = z.input<typeof schema>;

const others = z.object(policyLossShape).parse({});

/** ReMax: REINFORCE whose baseline is the reward of the greedy answer. */
export class RemaxInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;

  constructor(options: RemaxInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
  }

  /** Keys of a rollout. */
  async generate(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const { gen, logits_mask: logitsMask } = this.options;
    const greedy = input.keys.has('greedy_prompts');
    const prompts = greedy ? input.remapKeys({ greedy_prompts: 'packed_prompts' }) : input;
    const out = await model.engine.generate(prompts, greedy ? { ...gen, greedy } : gen, {
      ...call,
      eosTokenId: model.tokenizer.eosTokenId,
      padTokenId: model.tokenizer.padTokenId,
      seed: samplingSeed(model),
    });
    return rollout(prompts, out, {
      logitsMask: !greedy && logitsMask && !gen.force_no_logits_mask,
    });
  }

  async trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    const o = this.options;
    const gen = normalizeGeneration(o.gen);
    const { engine } = model;
    const whole = await scoresOverRanks(engine, input.f32('rewards'));
    const { sample: own, mask, stats } = prepareRemax(input, whole ? { ...o, adv_norm: false } : o);
    const sample = whole && o.adv_norm ? await whitenedOverRanks(engine, own) : own;
    const loss = policyLoss({
      ...policyLossOptions({ ...others, ...o }, { klInLoss: 0 }),
      name: 'remax',
      objective: 'reinforce',
      temperature: gen.greedy ? 1 : gen.temperature,
      logitsMask: sample.keys.has('packed_logits_mask'),
      earlyStopImpRatio: null,
      earlyStopKl: null,
    });
    const trained = await trainMinibatches(model, sample, loss, 1, call);
    const vocab = validVocabRatio(sample, mask, engine.config.vocabSize);
    const shown = { ...stats, ...(vocab === undefined ? {} : { valid_vocab_ratio: vocab }) };
    return { ...(await statsOverRanks(engine, shown)), ...trained };
  }
}
