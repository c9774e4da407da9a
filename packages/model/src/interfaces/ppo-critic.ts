/** Interface `ppo_critic`: values of a rollout and the clipped value update. */
import {
  SequenceSample,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';
import { z } from 'zod';

import { ppoCriticLoss } from '../losses/ppo.js';
import { PpoMemory, type PpoState } from '../ppo/memory.js';
import { ppoOptionsSchema } from '../ppo/options.js';
import { trainMinibatches } from './minibatches.js';

const schema = ppoOptionsSchema.extend({ enable_save: z.boolean().default(true) });

/** Options of PpoCriticInterface. */
export type PpoCriticOptions = z.input<typeof schema>;

/** PPO's critic: values, and the train step. */
export class PpoCriticInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;
  private readonly memory: PpoMemory;

  constructor(options: PpoCriticOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
    this.memory = new PpoMemory(this.options);
  }

  /** values [ΣL]; 0 after the last token of a terminated sequence. */
  async inference(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const values = await model.engine.values(input, call);
    const truncated = input.u8('seq_no_eos_mask');
    const cu = input.cuSeqlens('packed_input_ids');
    for (let s = 0; s + 1 < cu.length; s++) if (!truncated[s]) values[cu[s + 1]! - 1] = 0;
    return SequenceSample.fromDefault({
      ids: input.ids,
      seqlens: input.lengths('packed_input_ids'),
      data: { values },
    });
  }

  async trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    const o = this.options;
    const prepared = await this.memory.prepare(model.engine, input);
    let { sample } = prepared;
    if (this.memory.norm) {
      const returns = Float32Array.from(this.memory.norm.normalize(prepared.returns));
      sample = new SequenceSample({ ...sampleFields(sample), data: { ...sample.data, returns } });
    }
    const loss = ppoCriticLoss({
      valueEpsClip: o.value_eps_clip,
      huber: o.value_loss_type === 'huber',
    });
    const stats = await trainMinibatches(model, sample, loss, o.ppo_n_minibatches, call);
    const { returns, denormalized_values, n_tokens } = prepared.stats;
    return {
      ...stats,
      returns: returns!,
      denormalized_values: denormalized_values!,
      n_tokens: n_tokens!,
    };
  }

  state(): PpoState {
    return this.memory.state();
  }
  restore(state: unknown): void {
    this.memory.restore(state);
  }
}

function sampleFields(s: SequenceSample) {
  return {
    ids: s.ids,
    seqlens: s.seqlens,
    dtypes: s.dtypes,
    trailingShapes: s.trailingShapes,
    metadata: s.metadata,
  };
}
