/** Interface `raft` (Dong et al., arXiv 2304.06767): several answers per prompt, then supervised training on the best. */
import type { InterfaceCall, Model, ModelInterface, SequenceSample, Stats } from '@realhf/api';
import { z } from 'zod';

import { statsOverRanks } from '../grpo/over-ranks.js';
import { groupItems, repeatPrompts } from '../grpo/groups.js';
import { sftLoss } from '../losses/sft.js';
import { answerStats, checkedAnswerMask } from '../ppo/policy-sample.js';
import { bestOfGroups } from '../raft/best.js';
import { raftOptionsSchema } from '../raft/options.js';
import { samplingSeed } from './common.js';
import { trainMinibatches } from './minibatches.js';
import { rollout } from './rollout.js';

const schema = raftOptionsSchema.extend({ enable_save: z.boolean().default(true) });

/** Options of RaftInterface. */
export type RaftInterfaceOptions = z.input<typeof schema>;

/** RAFT: the best answers of a group, then supervised training on them. */
export class RaftInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;

  constructor(options: RaftInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
  }

  /** Keys of a rollout; an item holds the group_size answers to its prompt as sequences. */
  async generate(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const { gen, group_size: size } = this.options;
    const prompts = repeatPrompts(input, size);
    const out = await model.engine.generate(prompts, gen, {
      ...call,
      eosTokenId: model.tokenizer.eosTokenId,
      padTokenId: model.tokenizer.padTokenId,
      seed: samplingSeed(model),
    });
    return groupItems(rollout(prompts, out, { logitsMask: false }), input.ids, size);
  }

  async trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    const { sample, stats } = bestOfGroups(input);
    const n = this.options.ppo_n_minibatches;
    const shown = { ...stats, ...answerStats(input, checkedAnswerMask(input)) };
    return {
      ...(await statsOverRanks(model.engine, shown)),
      ...(await trainMinibatches(model, sample, sftLoss, n, call)),
    };
  }
}
