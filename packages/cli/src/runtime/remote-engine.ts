/**
 * The engine of a model on worker processes, for the master: it cuts a batch over the data-parallel ranks of the
 * replica that holds the parameters, and puts the answers together in the order of the batch. Losses are computed here,
 * from what the workers' heads gave: functions do not travel.
 */
import {
  ConfigError,
  DataError,
  modelName,
  NumericError,
  type CallOptions,
  type Engine,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type Loss,
  type Model,
  type ModelConfig,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import { coordinatesOf } from '@realhf/comm';
import type { Placement } from '@realhf/dataflow';
import { splitSample } from '@realhf/packing';

import type { ExperimentSpec } from '../experiments/spec.js';
import { externalModel } from '../rewards/external-model.js';
import type { RunAllocation } from './allocate.js';
import type { EngineAnswer, EngineCall } from './engine-wire.js';
import { workerName } from './worker-config.js';
import type { ZmqStream } from './zmq-stream.js';

const tokensKey = 'packed_input_ids';

/** Models by role, as one process would have them. Throws ConfigError on a role without a replica. */
export function remoteModels(
  stream: ZmqStream,
  spec: Pick<ExperimentSpec, 'roles' | 'tokenizer' | 'config'>,
  plan: Pick<RunAllocation, 'placements' | 'configs'>,
): (role: string) => Model {
  return (role) => {
    const config = plan.configs[role];
    const placement = plan.placements.find((p) => p.model.role === role && p.holdsParameters);
    if (!config || !placement) throw new ConfigError(`no model of role '${role}' is in this run`);
    if (spec.roles.some((r) => r.role === role && r.external))
      return externalModel(modelName(role), spec, config);
    return {
      name: modelName(role),
      engine: new RemoteEngine(stream, placement, config),
      tokenizer: spec.tokenizer,
      version: { epoch: 0, epochStep: 0, globalStep: 0 },
      seed: spec.config.seed,
    };
  };
}

class RemoteEngine implements Engine {
  readonly config: ModelConfig;
  private readonly stream: ZmqStream;
  private readonly placement: Placement;

  constructor(stream: ZmqStream, placement: Placement, config: ModelConfig) {
    this.stream = stream;
    this.placement = placement;
    this.config = config;
  }

  async logProbs(
    input: SequenceSample,
    { needed, ...options }: Parameters<Engine['logProbs']>[1] = {},
  ): Promise<Float32Array> {
    const call = { method: 'logProbs', options } as const;
    const keys = options.maskKey === undefined ? [] : [options.maskKey];
    const out = join(await this.onParts(input, call, keys));
    const wanted = needed?.(input);
    return wanted ? out.map((x, i) => (wanted[i] ? x : 0)) : out;
  }

  async values(input: SequenceSample, options: CallOptions = {}): Promise<Float32Array> {
    return join(await this.onParts(input, { method: 'values', options }));
  }

  async evalBatch(input: SequenceSample, loss: Loss, options: CallOptions = {}): Promise<Stats> {
    if (loss.needsEntropy)
      throw new ConfigError(
        `loss '${loss.name}' needs entropies, which workers do not send; evaluate it on one device`,
      );
    const { temperature, maskKey } = loss;
    const output = this.config.isCritic
      ? { values: await this.values(input, options) }
      : {
          logProbs: await this.logProbs(input, {
            ...options,
            ...(temperature === undefined ? {} : { temperature }),
            ...(maskKey === undefined ? {} : { maskKey }),
            ...(loss.needed ? { needed: (s) => loss.needed!(s) } : {}),
          }),
        };
    const out = loss.compute({
      ...output,
      sample: input,
      cuSeqlens: input.cuSeqlens(options.inputKey ?? tokensKey),
      totalWeight: loss.weight(input),
    });
    if (!Number.isFinite(out.loss))
      throw new NumericError(
        `loss '${loss.name}' is ${out.loss} in an evaluation: ${out.problem ?? `ids ${input.ids.slice(0, 3).join(', ')}…`}`,
      );
    const means = Object.entries(out.stats ?? {}).map(([name, { sum, count }]) => [
      name,
      count > 0 ? sum / count : 0,
    ]);
    return { loss: out.loss, ...(Object.fromEntries(means) as Stats) };
  }

  async generate(
    input: SequenceSample,
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput> {
    const inputKey = options.inputKey ?? 'packed_prompts';
    const call = { method: 'generate', gconfig, options: { ...options, inputKey } } as const;
    const outs = (await this.onParts(input, call)) as GenerateOutput[];
    return {
      tokens: outs.flatMap((o) => o.tokens),
      logProbs: outs.flatMap((o) => o.logProbs),
      noEos: outs.flatMap((o) => o.noEos),
      ...(outs.every((o) => o.masks) ? { masks: outs.flatMap((o) => o.masks ?? []) } : {}),
    };
  }

  /** Answers of the heads in the order of the parts; the first error ends the waits of all others. */
  private async onParts(
    input: SequenceSample,
    call: EngineCall,
    keys: readonly string[] = [],
  ): Promise<EngineAnswer[]> {
    const { model, ranks, parallel } = this.placement;
    if (input.bs === 0) throw new DataError('an engine call needs at least one sequence');
    const key = call.options.inputKey ?? tokensKey;
    const parts = splitSample(
      input.select([key, ...keys]),
      Math.min(parallel.dataParallelSize, input.bs),
      { key },
    );
    const answers: EngineAnswer[] = [];
    const asks = ranks.map(async (rank, i) => {
      const { dp, tp, pp } = coordinatesOf(i, parallel);
      const part = parts[dp];
      if (!part) return;
      const isHead = tp === 0 && pp === parallel.pipelineParallelSize - 1;
      const answer = await this.stream.engine(workerName(rank), { model, call, isHead }, part);
      if (isHead) answers[dp] = answer;
    });
    try {
      await Promise.all(asks);
    } catch (error) {
      this.stream.fail(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
    return answers;
  }
}

function join(parts: readonly EngineAnswer[]): Float32Array {
  return Float32Array.from(parts.flatMap((p) => Array.from(p as Float32Array)));
}
