/** Interface `ppo_actor`: generation, reference log-probs and the clipped policy update. */
import {
  normalizeGeneration,
  SequenceSample,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';
import { z } from 'zod';

import { answerMask } from '../losses/masks.js';
import { ppoActorLoss } from '../losses/ppo.js';
import { PpoMemory, type PpoState } from '../ppo/memory.js';
import { ppoOptionsSchema } from '../ppo/options.js';
import { policyLossOptions } from '../ppo/policy-options.js';
import { withLossMask } from '../ppo/policy-sample.js';
import { validVocabRatio } from '../ppo/vocab-ratio.js';
import { samplingSeed } from './common.js';
import { trainMinibatches } from './minibatches.js';
import { rollout } from './rollout.js';

const schema = ppoOptionsSchema.extend({
  enable_save: z.boolean().default(true),
  /** Emit packed_logits_mask at generation, unless gen.force_no_logits_mask. */
  logits_mask: z.boolean().default(true),
});

/** Options of PpoActorInterface. */
export type PpoInterfaceOptions = z.input<typeof schema>;

/** PPO's actor and reference: rollouts, log-probs, and the train step. */
export class PpoActorInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;
  private readonly memory: PpoMemory;
  /** Of the distribution that generation draws from: greedy ignores the option. */
  private readonly temperature: number;

  constructor(options: PpoInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
    this.memory = new PpoMemory(this.options);
    const gen = normalizeGeneration(this.options.gen);
    this.temperature = gen.greedy ? 1 : gen.temperature;
  }

  async generate(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const { tokenizer, engine } = model;
    const { gen, logits_mask: logitsMask } = this.options;
    const out = await engine.generate(input, gen, {
      ...call,
      eosTokenId: tokenizer.eosTokenId,
      padTokenId: tokenizer.padTokenId,
      seed: samplingSeed(model),
    });
    return rollout(input, out, {
      logitsMask: logitsMask && !gen.force_no_logits_mask,
    });
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
      ...(input.keys.has('prompt_mask') ? { needed: (s: SequenceSample) => answerMask(s) } : {}),
    });
    return SequenceSample.fromDefault({
      ids: input.ids,
      seqlens: input.lengths('packed_input_ids'),
      data: { packed_ref_logprobs: logp },
    });
  }

  async trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    const o = this.options;
    const prepared = await this.memory.prepare(model.engine, input);
    const loss = ppoActorLoss({
      ...policyLossOptions(o, { klInLoss: o.use_kl_in_reward ? 0 : prepared.klCtl }),
      temperature: this.temperature,
      logitsMask: prepared.sample.keys.has('packed_logits_mask'),
    });
    const sample = withLossMask(prepared.sample, prepared.policyMask);
    const stats = await trainMinibatches(model, sample, loss, o.ppo_n_minibatches, call);
    const vocab = validVocabRatio(prepared.sample, prepared.mask, model.engine.config.vocabSize);
    return {
      ...prepared.stats,
      ...stats,
      kl_ctl: prepared.klCtl,
      ...(vocab === undefined ? {} : { valid_vocab_ratio: vocab }),
    };
  }

  state(): PpoState {
    return this.memory.state();
  }
  restore(state: unknown): void {
    this.memory.restore(state);
  }
}
