/**
 * What a PPO interface keeps between steps: KL coefficient and value statistics. Actor and critic hold a copy each and
 * are fed the same data, so the copies agree. A batch that is not finite throws before either has learned from it.
 */
import { CheckpointError, type Engine, type SequenceSample } from '@realhf/api';
import { z } from 'zod';

import { KlController } from './kl-controller.js';
import type { PpoOptions } from './options.js';
import { overRanks } from './over-ranks.js';
import { preparePpo, type PreparedPpo } from './prepare.js';
import { ValueNorm } from './value-norm.js';

const stateSchema = z.object({
  klCtl: z.number(),
  valueNorm: z.object({ mean: z.number(), meanSq: z.number(), weight: z.number() }).nullable(),
});
/** JSON-able; valueNorm is null where value_norm is off. */
export type PpoState = z.infer<typeof stateSchema>;

/** What PPO remembers from step to step: the KL controller and the value norm. */
export class PpoMemory {
  readonly options: PpoOptions;
  readonly kl: KlController;
  readonly norm: ValueNorm | undefined;
  constructor(options: PpoOptions) {
    this.options = options;
    this.kl = new KlController({
      klCtl: options.kl_ctl,
      adaptive: options.use_adaptive_kl_ctl,
      target: options.adaptive_kl_target,
      horizon: options.adaptive_kl_horizon,
    });
    this.norm = options.value_norm
      ? new ValueNorm({
          type: options.value_norm_type,
          beta: options.value_norm_beta,
          eps: options.value_norm_eps,
        })
      : undefined;
  }
  /**
   * Once per batch: denormalises with the old statistics, then learns from the returns and the measured KL. Every
   * data-parallel rank of `engine` calls it with its part; statistics are those of the whole batch.
   */
  async prepare(
    engine: Pick<Engine, 'overData'>,
    input: SequenceSample,
  ): Promise<PreparedPpo & { readonly klCtl: number }> {
    const klCtl = this.kl.value;
    const own = preparePpo(input, this.options, klCtl, this.norm);
    const { prepared, returns, nSeqs } = await overRanks(engine, own, this.options.adv_norm);
    this.norm?.add(returns);
    this.kl.update(prepared.klPerSequence, nSeqs);
    return { ...prepared, klCtl };
  }
  state(): PpoState {
    return { klCtl: this.kl.value, valueNorm: this.norm?.state ?? null };
  }
  /** CheckpointError if it is not what `state` gave under the same value_norm option. */
  restore(state: unknown): void {
    const parsed = stateSchema.safeParse(state);
    if (!parsed.success || (parsed.data.valueNorm === null) !== (this.norm === undefined))
      throw new CheckpointError(
        `the saved ppo state ${JSON.stringify(state)} does not fit value_norm=${this.norm !== undefined}; resume with the options of the saved run`,
      );
    this.kl.value = parsed.data.klCtl;
    if (this.norm && parsed.data.valueNorm) this.norm.state = parsed.data.valueNorm;
  }
}
