/**
 * NetworkEngine: inference on a Network, in microbatches whose number never changes the numbers. A loss's weights are
 * summed over all microbatches and data-parallel ranks before anything is divided. Data-parallel ranks meet in totals
 * only, so each may have its own number of microbatches, none included. All pipeline stages return the same.
 */
import {
  DataError,
  NumericError,
  type CallOptions,
  type Engine,
  type ForwardOptions,
  type ForwardOutput,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type HeadGrad,
  type Loss,
  type LossOutput,
  type ModelConfig,
  type MoeStats,
  type Network,
  type PackedBatch,
  type SequenceSample,
  type Stats,
  type TrainOptions,
} from '@realhf/api';
import { microbatches } from '@realhf/packing';

import {
  addOverRanks,
  checkMicrobatches,
  statsOfLastStage,
  valuesOfLastStage,
  type SumAndCount,
} from './agree.js';
import { inferenceSchedule, trainSchedule } from './pipeline-schedule.js';
import { runSchedule } from './run-schedule.js';
import { MoeSums } from './moe-sums.js';
import { noiseSeeds, sequenceSeeds } from './seeds.js';

const defaultKey = 'packed_input_ids';

/** Running sums of a loss's stats. */
export class StatSums {
  private readonly sums = new Map<string, SumAndCount>();
  add(stats: LossOutput['stats']): void {
    for (const [name, { sum, count }] of Object.entries(stats ?? {})) {
      const s = this.sums.get(name) ?? { sum: 0, count: 0 };
      this.sums.set(name, { sum: s.sum + sum, count: s.count + count });
    }
  }
  /** Means over everything added, on all ranks of the data-parallel group. */
  async means(network: Network): Promise<Stats> {
    const { dp } = network.groups;
    const sums = dp && dp.size > 1 ? await addOverRanks(dp, this.sums) : this.sums;
    return Object.fromEntries(
      [...sums].map(([name, { sum, count }]) => [name, count > 0 ? sum / count : 0]),
    );
  }
}

/** Runs a network on batches: inference, values, generation, evaluation of losses. */
export class NetworkEngine implements Engine {
  readonly network: Network;

  constructor(network: Network) {
    this.network = network;
  }
  get config(): ModelConfig {
    return this.network.config;
  }

  async overData(values: Float64Array, op: 'sum' | 'max'): Promise<void> {
    const { dp } = this.network.groups;
    if (dp && dp.size > 1) await dp.allReduce(values, op);
  }

  protected split(input: SequenceSample, options: CallOptions): SequenceSample[] {
    if (input.bs === 0) {
      if ((this.network.groups.dp?.size ?? 1) > 1) return [];
      throw new DataError('an engine call needs at least one sequence');
    }
    return microbatches(input, {
      nMbs: Math.min(options.nMbs ?? 1, input.bs),
      key: options.inputKey ?? defaultKey,
      ...(options.maxTokensPerMb === undefined ? {} : { maxTokens: options.maxTokensPerMb }),
    });
  }
  protected pack(mb: SequenceSample, options: CallOptions): PackedBatch {
    const key = options.inputKey ?? defaultKey;
    return { tokens: mb.i32(key), cuSeqlens: mb.cuSeqlens(key) };
  }

  private async inference(
    input: SequenceSample,
    options: CallOptions,
    forward: (mb: SequenceSample) => ForwardOptions,
    pick: (o: ForwardOutput) => Float32Array | undefined,
  ): Promise<Float32Array> {
    const parts: Float32Array[] = [];
    await this.runPasses(this.split(input, options), options, false, forward, (_, output) => {
      parts.push(pick(output) ?? new Float32Array(0));
      return undefined;
    });
    const { pp } = this.network.groups;
    const values = concat(parts);
    return pp && pp.size > 1 ? valuesOfLastStage(pp, values) : values;
  }

  /** All microbatches through this stage by the schedule of the pipeline; `head` as in runSchedule. */
  private async runPasses(
    mbs: readonly SequenceSample[],
    options: CallOptions,
    train: boolean,
    forward: (mb: SequenceSample) => ForwardOptions,
    head: (microbatch: number, output: ForwardOutput) => HeadGrad | undefined,
  ): Promise<void> {
    const { pp, ppSize, coordinates } = this.network.groups;
    const batches = mbs.map((mb) => this.pack(mb, options));
    if (pp && ppSize > 1)
      await checkMicrobatches(
        pp,
        batches.map((b) => b.tokens.length),
      );
    const schedule = train ? trainSchedule : inferenceSchedule;
    await runSchedule(
      schedule(coordinates.pp, ppSize, mbs.length),
      (i) => this.network.pass(batches[i]!, forward(mbs[i]!)),
      head,
    );
  }

  logProbs(
    input: SequenceSample,
    options: CallOptions & {
      temperature?: number;
      maskKey?: string;
      needed?: (sample: SequenceSample) => Uint8Array;
    } = {},
  ): Promise<Float32Array> {
    const { temperature, maskKey, needed } = options;
    return this.inference(
      input,
      options,
      (mb) => ({
        train: false,
        ...(temperature === undefined ? {} : { temperature }),
        ...(maskKey === undefined ? {} : { mask: mb.u8(maskKey) }),
        ...(needed ? { needed: needed(mb) } : {}),
      }),
      (o) => o.logProbs,
    );
  }

  values(input: SequenceSample, options: CallOptions = {}): Promise<Float32Array> {
    return this.inference(
      input,
      options,
      () => ({ train: false }),
      (o) => o.values,
    );
  }

  evalBatch(input: SequenceSample, loss: Loss, options: CallOptions = {}): Promise<Stats> {
    return this.lossPasses(input, loss, options, false);
  }

  /** Forward (and backward) of all microbatches; the gradient is left in the network. */
  protected async lossPasses(
    input: SequenceSample,
    loss: Loss,
    options: CallOptions & Pick<TrainOptions, 'noiseSeed'>,
    train: boolean,
  ): Promise<Stats> {
    const { dp, pp } = this.network.groups;
    const mbs = this.split(input, options);
    const tokensOf = (mb: SequenceSample) => this.pack(mb, options).tokens.length;
    const sum = (of: (mb: SequenceSample) => number) => mbs.reduce((s, mb) => s + of(mb), 0);
    const totals = Float64Array.of(
      sum((mb) => loss.weight(mb)),
      sum(tokensOf),
    );
    if (dp && dp.size > 1) await dp.allReduce(totals);
    const [totalWeight = 0, totalTokens = 0] = totals;
    if (!(totalWeight > 0))
      throw new DataError(
        `loss '${loss.name}' has no tokens to learn from in this batch of ${input.bs} (ids ${input.ids.slice(0, 3).join(', ')}…)`,
      );
    const sums = new StatSums();
    let total = 0;
    let bad: string | undefined;
    const failures: unknown[] = [];
    const compute = (mb: SequenceSample, output: ForwardOutput): LossOutput => {
      const { cuSeqlens } = this.pack(mb, options);
      try {
        return loss.compute({ ...output, sample: mb, cuSeqlens, totalWeight });
      } catch (e) {
        failures.push(e);
        return { loss: NaN };
      }
    };
    const head = (i: number, output: ForwardOutput): HeadGrad | undefined => {
      const mb = mbs[i]!;
      const out = compute(mb, output);
      if (Number.isFinite(out.loss)) {
        total += out.loss;
        sums.add(out.stats);
        return gradients(out);
      }
      // Peers wait for this rank: it goes through all passes with zeros, then all of them throw.
      const ids = `${mb.ids.slice(0, 3).join(', ')}${mb.bs > 3 ? '…' : ''}`;
      const where = out.problem === undefined ? ` on ids ${ids}` : `: ${out.problem}`;
      bad ??= `loss '${loss.name}' is ${out.loss}${where}; parameters were not changed`;
      total = NaN;
      return undefined;
    };
    const moe = new MoeSums();
    const trainMode = (mb: SequenceSample) => {
      const auxWeight = tokensOf(mb) / totalTokens;
      const { noiseSeed, inputKey = defaultKey } = options;
      return {
        auxWeight,
        onMoeStats: (stats: MoeStats) => {
          moe.add(stats, auxWeight);
        },
        ...(noiseSeed === undefined ? {} : { noiseSeeds: noiseSeeds(noiseSeed, mb, inputKey) }),
      };
    };
    const forward = (mb: SequenceSample): ForwardOptions => ({
      train,
      ...(loss.temperature === undefined ? {} : { temperature: loss.temperature }),
      ...(loss.maskKey === undefined ? {} : { mask: mb.u8(loss.maskKey) }),
      ...(loss.needsEntropy ? { entropy: true } : {}),
      ...(loss.needed ? { needed: loss.needed(mb) } : {}),
      ...(train ? trainMode(mb) : {}),
    });
    await this.runPasses(mbs, options, train, forward, head);
    const allLosses = Float64Array.of(total);
    if (dp && dp.size > 1) await dp.allReduce(allLosses);
    let stats: Stats = { loss: allLosses[0]! };
    // Where one rank has no stats, there is nothing to average.
    if (Number.isFinite(stats.loss)) Object.assign(stats, await sums.means(this.network));
    // Only the last stage has a loss; all of them must decide alike whether to step.
    if (pp && pp.size > 1) stats = await statsOfLastStage(pp, stats);
    Object.assign(stats, await moe.stats(this.network.groups));
    if (failures.length > 0) throw failures[0];
    if (!Number.isFinite(stats.loss))
      throw new NumericError(
        bad ??
          `loss '${loss.name}' is ${stats.loss ?? NaN} on another rank; parameters were not changed`,
      );
    return stats;
  }

  async generate(
    input: SequenceSample,
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput> {
    const opts = { ...options, inputKey: options.inputKey ?? 'packed_prompts' };
    const outs: GenerateOutput[] = [];
    // A pipeline cuts the batch itself, to fill its stages.
    const parts = this.network.groups.ppSize > 1 ? [input] : this.split(input, opts);
    for (const mb of parts) {
      outs.push(
        await this.network.generate(
          { ...this.pack(mb, opts), seeds: sequenceSeeds(options.seed, mb.ids) },
          gconfig,
          options,
        ),
      );
    }
    return {
      tokens: outs.flatMap((o) => o.tokens),
      logProbs: outs.flatMap((o) => o.logProbs),
      noEos: outs.flatMap((o) => o.noEos),
      ...(outs.every((o) => o.masks) ? { masks: outs.flatMap((o) => o.masks ?? []) } : {}),
    };
  }
}

function gradients(out: LossOutput): HeadGrad {
  return {
    ...(out.dLogProbs ? { dLogProbs: out.dLogProbs } : {}),
    ...(out.dEntropy ? { dEntropy: out.dEntropy } : {}),
    ...(out.dValues ? { dValues: out.dValues } : {}),
  };
}

function concat(parts: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
