/**
 * Replica: one rank's part of a model in one layout, as an Engine whose parameters come and go. The replica that trains
 * keeps them; others of a trained role are empty until a reallocation fills them; a frozen model may be offloaded to
 * the host, from where its next use brings it back.
 */
import {
  ConfigError,
  modelKey,
  type CallOptions,
  type Engine,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type Loss,
  type ModelConfig,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import { NetworkEngine, type AdamEngine } from '@realhf/backends';
import type { Placement } from '@realhf/dataflow';
import type { LoraConfig, ReaLModel } from '@realhf/model';

export interface ReplicaOptions {
  readonly placement: Placement;
  /** With its weights, or without memory for them where the replica starts empty. */
  readonly model: ReaLModel;
  /** Of the replica that trains; it is the engine then. */
  readonly trained?: AdamEngine;
  /** Where the tokenizer of a model that trains is, to be copied when it is saved. */
  readonly tokenizerDir: string;
  /** Its weights are another replica's, beside an adapter: they stay where they are. */
  readonly shared?: boolean;
}

type LogProbsOptions = Parameters<Engine['logProbs']>[1];

export class Replica implements Engine {
  readonly placement: Placement;
  readonly config: ModelConfig;
  readonly trained: AdamEngine | undefined;
  readonly tokenizerDir: string;
  private readonly model: ReaLModel;
  private readonly inner: Engine;
  private readonly shared: boolean;
  /** Parameters by segment while they are offloaded. */
  private host: Float32Array[] | undefined;

  constructor({ placement, model, trained, tokenizerDir, shared = false }: ReplicaOptions) {
    this.placement = placement;
    this.config = model.config;
    this.trained = trained;
    this.tokenizerDir = tokenizerDir;
    this.model = model;
    this.shared = shared;
    this.inner = trained ?? new NetworkEngine(model);
  }

  /** Of the adapter: decides how parameters are cut into segments. */
  get maxTensorBytes(): number {
    return this.model.ops.maxTensorBytes;
  }

  /** The shape of its adapter, whose parameters are the replica's then. */
  get lora(): LoraConfig | undefined {
    return this.model.adapter?.lora;
  }
  /** The model without its adapter. */
  get base(): ReaLModel | undefined {
    return this.model.adapter?.base;
  }

  /** The network with its parameters, brought back from the host if they are there. Throws ConfigError if it is empty. */
  network(): ReaLModel {
    const { model, host } = this;
    if (host) {
      model.allocate();
      host.forEach((values, i) => {
        model.ops.write(model.params[i]!, values);
      });
      this.host = undefined;
    }
    if (model.params.length === 0)
      throw new ConfigError(
        `model ${modelKey(this.placement.model)} has no parameters; a param_realloc hook must fill it first`,
      );
    return model;
  }

  /** The network with memory for its parameters: a reallocation overwrites all of them. */
  allocate(): ReaLModel {
    this.host = undefined;
    this.model.allocate();
    return this.model;
  }

  /** To the host; does nothing for a replica that trains, whose optimizer needs them on the device. */
  async offload(): Promise<void> {
    const { model } = this;
    if (model.params.length === 0 || this.trained || this.shared) return;
    this.host = await Promise.all(model.params.map((p) => model.ops.read(p)));
    model.deallocate();
  }

  /** Lets the parameters go; does nothing for a replica that trains. */
  drop(): void {
    if (!this.trained && !this.shared) this.model.deallocate();
  }

  async overData(values: Float64Array, op: 'sum' | 'max'): Promise<void> {
    await this.inner.overData?.(values, op);
  }
  logProbs(input: SequenceSample, options?: LogProbsOptions): Promise<Float32Array> {
    return this.engine().logProbs(input, options);
  }
  values(input: SequenceSample, options?: CallOptions): Promise<Float32Array> {
    return this.engine().values(input, options);
  }
  evalBatch(input: SequenceSample, loss: Loss, options?: CallOptions): Promise<Stats> {
    return this.engine().evalBatch(input, loss, options);
  }
  generate(
    input: SequenceSample,
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput> {
    return this.engine().generate(input, gconfig, options);
  }

  private engine(): Engine {
    this.network();
    return this.inner;
  }
}
