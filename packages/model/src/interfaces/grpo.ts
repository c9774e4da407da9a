/** Interface `grpo`: several answers per prompt, the reference's log-probs of them, and the policy update by their order. */
import {
  normalizeGeneration,
  SequenceSample,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';
import { z } from 'zod';

import { groupItems, repeatPrompts } from '../grpo/groups.js';
import { grpoOptionsSchema } from '../grpo/options.js';
import { prepareGrpo } from '../grpo/prepare.js';
import { grpoLoss } from '../losses/grpo.js';
import { answerMask } from '../losses/masks.js';
import { validVocabRatio } from '../ppo/vocab-ratio.js';
import { samplingSeed } from './common.js';
import { trainMinibatches } from './minibatches.js';
import { rollout } from './rollout.js';

const schema = grpoOptionsSchema.extend({
  enable_save: z.boolean().default(true),
  /** Emit packed_logits_mask at generation, unless gen.force_no_logits_mask. */
  logits_mask: z.boolean().default(true),
});
export type GrpoInterfaceOptions = z.input<typeof schema>;

export class GrpoInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;
  /** Of the distribution that generation draws from: greedy ignores the option. */
  private readonly temperature: number;

  constructor(options: GrpoInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
    const gen = normalizeGeneration(this.options.gen);
    this.temperature = gen.greedy ? 1 : gen.temperature;
  }

  /** Keys of a rollout; an item holds the group_size answers to its prompt as sequences. */
  async generate(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const { tokenizer, engine } = model;
    const { gen, group_size: size, logits_mask: logitsMask } = this.options;
    const prompts = repeatPrompts(input, size);
    const out = await engine.generate(prompts, gen, {
      ...call,
      eosTokenId: tokenizer.eosTokenId,
      padTokenId: tokenizer.padTokenId,
      seed: samplingSeed(model),
    });
    const flat = rollout(prompts, out, {
      logitsMask: logitsMask && !gen.force_no_logits_mask,
    });
    return groupItems(flat, input.ids, size);
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
    const o = this.options;
    const prepared = prepareGrpo(input, o);
    const loss = grpoLoss({
      epsClip: o.eps_clip,
      klCtl: o.kl_ctl,
      averaging: o.loss_averaging,
      temperature: this.temperature,
      logitsMask: prepared.sample.keys.has('packed_logits_mask'),
      earlyStopImpRatio: o.early_stop_imp_ratio,
      earlyStopKl: o.early_stop_kl,
    });
    const stats = await trainMinibatches(model, prepared.sample, loss, o.ppo_n_minibatches, call);
    const vocab = validVocabRatio(prepared.sample, prepared.mask, model.engine.config.vocabSize);
    return {
      ...prepared.stats,
      ...stats,
      ...(vocab === undefined ? {} : { valid_vocab_ratio: vocab }),
    };
  }
}
