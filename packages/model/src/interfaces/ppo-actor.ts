/** Interface `ppo_actor`: generation, reference log-probs and the clipped policy update. */
import {
  NumericError,
  SequenceSample,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';
import { splitSample } from '@realhf/packing';
import { z } from 'zod';

import { answerMask } from '../losses/masks.js';
import { ppoActorLoss } from '../losses/ppo.js';
import { KlController } from '../ppo/kl-controller.js';
import { ppoOptionsSchema, type PpoOptions } from '../ppo/options.js';
import { preparePpo } from '../ppo/prepare.js';
import { ValueNorm, type ValueNormState } from '../ppo/value-norm.js';
import { trainable } from './common.js';
import { averageStats } from './minibatch-stats.js';
import { rollout } from './rollout.js';

const schema = ppoOptionsSchema.extend({
  enable_save: z.boolean().default(true),
  logits_mask: z.boolean().default(true),
});
export type PpoInterfaceOptions = z.input<typeof schema>;

export interface PpoState {
  klCtl: number;
  valueNorm: ValueNormState | null;
}

/** What actor and critic keep between steps: each its own copy, fed the same data. */
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
  /** Denormalises with old statistics, then learns from the returns. */
  prepare(input: SequenceSample) {
    const prepared = preparePpo(input, this.options, this.kl.value, this.norm);
    const klCtl = this.kl.value;
    this.norm?.update(prepared.returns, prepared.mask);
    this.kl.update(prepared.klPerSequence, input.bs);
    return { ...prepared, klCtl };
  }
  state(): PpoState {
    return { klCtl: this.kl.value, valueNorm: this.norm?.state ?? null };
  }
  restore(state: unknown): void {
    const s = state as PpoState;
    this.kl.value = s.klCtl;
    if (this.norm && s.valueNorm) this.norm.state = s.valueNorm;
  }
}

export class PpoActorInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly options: z.infer<typeof schema>;
  private readonly memory: PpoMemory;

  constructor(options: PpoInterfaceOptions = {}) {
    this.options = schema.parse(options);
    this.enableSave = this.options.enable_save;
    this.memory = new PpoMemory(this.options);
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
      // A prompt that comes again in a later step draws anew.
      seed: (model.seed + Math.imul(model.version.globalStep + 1, 0x9e3779b1)) | 0,
    });
    return rollout(input, out, { logitsMask, vocabSize: engine.config.vocabSize });
  }

  /** Log-probs of the reference under the same temperature and filter that sampling used. */
  async inference(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const logp = await model.engine.logProbs(input, {
      ...call,
      temperature: this.options.gen.temperature || 1,
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
    const prepared = this.memory.prepare(input);
    const loss = ppoActorLoss({
      epsClip: o.eps_clip,
      temperature: o.gen.temperature || 1,
      logitsMask: prepared.sample.keys.has('packed_logits_mask'),
      entropyCoeff: o.entropy_coeff,
      earlyStopImpRatio: o.early_stop_imp_ratio,
      earlyStopKl: o.early_stop_kl,
    });
    assertFinite(prepared.sample, 'advantages');
    const parts: Stats[] = [];
    for (const mb of splitSample(prepared.sample, Math.min(o.ppo_n_minibatches, input.bs), {
      key: 'packed_input_ids',
      minSize: minibatchSize(input.bs, o.ppo_n_minibatches, call),
    })) {
      parts.push(
        await trainable(model).trainBatch(mb, loss, {
          versionSteps: model.version.globalStep,
          ...call,
        }),
      );
    }
    return { ...prepared.stats, ...averageStats(parts), kl_ctl: prepared.klCtl };
  }

  state(): PpoState {
    return this.memory.state();
  }
  restore(state: unknown): void {
    this.memory.restore(state);
  }
}

/** Sequences a minibatch has at least: one per microbatch, if there are enough. */
export function minibatchSize(bs: number, nMinibatches: number, call: InterfaceCall): number {
  return Math.max(1, Math.min(call.nMbs ?? 1, Math.floor(bs / Math.min(nMinibatches, bs))));
}

/** NumericError naming the key and the id of the first entry that is not finite. */
export function assertFinite(sample: SequenceSample, key: string): void {
  const data = sample.f32(key);
  const bad = data.findIndex((x) => !Number.isFinite(x));
  if (bad < 0) return;
  const cu = sample.cuSeqlens(key);
  const s = cu.findIndex((c) => c > bad) - 1;
  throw new NumericError(
    `'${key}' of id '${sample.ids[s] ?? '?'}' is ${data[bad]!}; a reward, value or log-prob before it was not finite`,
  );
}
