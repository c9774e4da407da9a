/**
 * NetworkEngine: inference on a Network, in microbatches whose number never changes the numbers. A loss's weights are
 * summed over all microbatches and data-parallel ranks before anything is divided.
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
  type Loss,
  type LossOutput,
  type ModelConfig,
  type Network,
  type PackedBatch,
  type SequenceSample,
  type Stats,
} from '@realhf/api';
import { microbatches } from '@realhf/packing';

import { sequenceSeeds } from './seeds.js';
import { shareStats } from './share-stats.js';

const defaultKey = 'packed_input_ids';

/** Running sums of a loss's stats. */
export class StatSums {
  private readonly sums = new Map<string, { sum: number; count: number }>();
  add(stats: LossOutput['stats']): void {
    for (const [name, { sum, count }] of Object.entries(stats ?? {})) {
      const s = this.sums.get(name) ?? { sum: 0, count: 0 };
      this.sums.set(name, { sum: s.sum + sum, count: s.count + count });
    }
  }
  /** Means over everything added, on all ranks of the data-parallel group. */
  async means(network: Network): Promise<Stats> {
    const names = [...this.sums.keys()].sort();
    const flat = Float64Array.from(
      names.flatMap((n) => [this.sums.get(n)!.sum, this.sums.get(n)!.count]),
    );
    if (network.groups.dp && network.groups.dp.size > 1) await network.groups.dp.allReduce(flat);
    return Object.fromEntries(
      names.map((n, i) => [n, flat[2 * i + 1]! > 0 ? flat[2 * i]! / flat[2 * i + 1]! : 0]),
    );
  }
}

export class NetworkEngine implements Engine {
  readonly network: Network;

  constructor(network: Network) {
    this.network = network;
  }
  get config(): ModelConfig {
    return this.network.config;
  }

  protected split(input: SequenceSample, options: CallOptions): SequenceSample[] {
    if (input.bs === 0) throw new DataError('an engine call needs at least one sequence');
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
    for (const mb of this.split(input, options)) {
      const pass = await this.network.forward(this.pack(mb, options), forward(mb));
      pass.release();
      const part = pass.output && pick(pass.output);
      if (part) parts.push(part);
    }
    return concat(parts);
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
        ...(maskKey === undefined ? {} : { mask: mb.u32(maskKey) }),
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
    options: CallOptions,
    train: boolean,
  ): Promise<Stats> {
    const { dp, pp } = this.network.groups;
    const mbs = this.split(input, options);
    const weight = Float64Array.of(mbs.reduce((s, mb) => s + loss.weight(mb), 0));
    if (dp && dp.size > 1) await dp.allReduce(weight);
    const totalWeight = weight[0]!;
    if (!(totalWeight > 0))
      throw new DataError(
        `loss '${loss.name}' has no tokens to learn from in this batch of ${input.bs} (ids ${input.ids.slice(0, 3).join(', ')}…)`,
      );
    const sums = new StatSums();
    let total = 0;
    let bad: string | undefined;
    for (const mb of mbs) {
      const batch = this.pack(mb, options);
      const pass = await this.network.forward(batch, {
        train,
        ...(loss.temperature === undefined ? {} : { temperature: loss.temperature }),
        ...(loss.maskKey === undefined ? {} : { mask: mb.u32(loss.maskKey) }),
        ...(loss.needsEntropy ? { entropy: true } : {}),
        ...(loss.needed ? { needed: loss.needed(mb) } : {}),
      });
      try {
        if (!pass.output) {
          if (train) await pass.backward();
          continue;
        }
        const out = loss.compute({
          ...pass.output,
          sample: mb,
          cuSeqlens: batch.cuSeqlens,
          totalWeight,
        });
        if (!Number.isFinite(out.loss)) {
          bad ??= `loss '${loss.name}' is ${out.loss} on ids ${mb.ids.slice(0, 3).join(', ')}${mb.bs > 3 ? '…' : ''}; parameters were not changed`;
          total = NaN;
          // Peers wait for this rank: it goes through all passes with zeros, then all of them throw.
          if ((dp?.size ?? 1) === 1 && (pp?.size ?? 1) === 1) break;
          if (train) await pass.backward();
          continue;
        }
        total += out.loss;
        sums.add(out.stats);
        if (train) await pass.backward(gradients(out));
      } finally {
        pass.release();
      }
    }
    const sum = Float64Array.of(total);
    if (dp && dp.size > 1) await dp.allReduce(sum);
    let stats: Stats = { loss: sum[0]! };
    // Where one rank has no stats, there is nothing to average.
    if (Number.isFinite(stats.loss)) Object.assign(stats, await sums.means(this.network));
    // Only the last stage has a loss; all of them must decide alike whether to step.
    if (pp && pp.size > 1) stats = await shareStats(pp, stats);
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
    for (const mb of this.split(input, opts)) {
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

function gradients(out: LossOutput): {
  dLogProbs?: Float32Array;
  dEntropy?: Float32Array;
  dValues?: Float32Array;
} {
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
