/**
 * AdamEngine: gradient accumulation over microbatches, global-norm clip, AdamW on f32 masters. A step that meets a
 * loss or a gradient norm that is not finite throws before any parameter changes, on every rank of the grid. With data
 * parallelism each rank updates its share of the parameters (ZeRO-1).
 */
import {
  ConfigError,
  NumericError,
  type LocalParam,
  type Loss,
  type Network,
  type OptimizerConfig,
  type SequenceSample,
  type Stats,
  type Tensor,
  type TensorCommunicator,
  type TrainEngine,
  type TrainOptions,
} from '@realhf/api';
import { tensorGroup } from '@realhf/comm';

import { normRuns, weightedSquares, type NormRun } from './grad-norm.js';
import { learningRate } from './lr-schedule.js';
import { NetworkEngine } from './network-engine.js';
import { shareOf, stateMaps, type Share, type StateMaps, type TrainState } from './zero.js';

interface DecayRun {
  readonly segment: number;
  readonly begin: number;
  end: number;
  readonly decay: boolean;
}

/** Trains a network with Adam, over microbatches, stages and data-parallel ranks. */
export class AdamEngine extends NetworkEngine implements TrainEngine {
  readonly optimizer: OptimizerConfig;
  /** Train steps of the whole run, where the schedule ends; minibatches of one train step share a rate. */
  readonly totalSteps: number;
  /** Where this rank's state lies in the flat space (see recutState). */
  readonly stateMaps: StateMaps;
  /** What of each segment this rank updates. */
  private readonly shares: readonly Share[];
  private readonly m: readonly Tensor[];
  private readonly v: readonly Tensor[];
  private readonly squares: Tensor;
  private readonly factor: Tensor;
  private readonly norm: Tensor;
  private readonly runs: readonly DecayRun[];
  private readonly normRuns: readonly NormRun[];
  private readonly dp: TensorCommunicator | undefined;
  private steps = 0;

  constructor(network: Network, options: { optimizer: OptimizerConfig; totalSteps: number }) {
    super(network);
    this.optimizer = options.optimizer;
    this.totalSteps = options.totalSteps;
    const { ops, params, shardMap } = network;
    this.dp = tensorGroup(network.groups, 'dp', ops);
    const part = { rank: this.dp?.rank ?? 0, size: this.dp?.size ?? 1 };
    this.shares = shardMap.segmentSizes.map((n) => shareOf(n, part));
    this.stateMaps = stateMaps(shardMap, part);
    params.forEach((p, i) => {
      const whole = this.shares[i]!.length * part.size;
      if (p.size !== whole)
        throw new ConfigError(
          `segment ${i} has ${p.size} elements, ${part.size} data-parallel ranks share ${whole}; make the model with its dp group`,
        );
    });
    this.m = this.shares.map((s) => ops.zeros([s.length]));
    this.v = this.shares.map((s) => ops.zeros([s.length]));
    this.squares = ops.zeros([shardMap.segmentSizes.length]);
    this.factor = ops.zeros([1]);
    this.norm = ops.zeros([1]);
    this.runs = decayRuns(network.locals, shardMap.segmentSizes);
    this.normRuns = normRuns(network, this.shares);
  }

  async trainBatch(input: SequenceSample, loss: Loss, options: TrainOptions): Promise<Stats> {
    const { network } = this;
    const { ops } = network;
    const grads = network.gradients();
    for (const g of grads) ops.fill(g, 0);
    const stats = await this.lossPasses(input, loss, options, true);
    await network.finishGradients();
    for (const [i, g] of grads.entries()) await this.dp?.reduceScatter(g, this.mine(g, i));
    const norm = await this.clip(grads);
    // Before the norm is judged: extreme ratios, which overflow it, are what an early stop is for.
    const skipped = loss.skipStep?.(stats) === undefined ? 0 : 1;
    if (skipped) return { ...stats, grad_norm: norm, lr: 0, skipped };
    if (!Number.isFinite(norm))
      throw new NumericError(
        `gradient norm of loss '${loss.name}' is ${norm} at step ${options.versionSteps}; parameters were not changed`,
      );
    const lr = learningRate(this.optimizer, options.versionSteps, this.totalSteps);
    if (this.optimizer.type === 'adam') {
      this.adamStep(grads, lr);
      for (const [i, p] of network.params.entries()) await this.dp?.allGather(this.mine(p, i), p);
    }
    return { ...stats, grad_norm: norm, lr, ...(loss.skipStep ? { skipped } : {}) };
  }

  /** This rank's share of a tensor in the form of segment i. */
  private mine(t: Tensor, i: number): Tensor {
    if (!this.dp) return t;
    const { begin, length } = this.shares[i]!;
    return this.network.ops.view(t, begin, [length]);
  }

  private adamStep(grads: readonly Tensor[], lr: number): void {
    const { ops, params } = this.network;
    const { beta1, beta2, eps, weight_decay: decay } = this.optimizer;
    this.steps++;
    for (const run of this.runs) {
      const share = this.shares[run.segment]!;
      const begin = Math.max(0, run.begin - share.begin);
      const end = Math.min(share.length, run.end - share.begin);
      if (begin >= end) continue;
      ops.adam({
        param: this.mine(params[run.segment]!, run.segment),
        grad: this.mine(grads[run.segment]!, run.segment),
        m: this.m[run.segment]!,
        v: this.v[run.segment]!,
        begin,
        end,
        lr,
        beta1,
        beta2,
        eps,
        weightDecay: run.decay ? decay : 0,
        step: this.steps,
        gradScale: this.factor,
      });
    }
    ops.flush();
  }

  /** Leaves min(1, clip/‖g‖) in `factor` and returns the global ‖g‖. */
  private async clip(grads: readonly Tensor[]): Promise<number> {
    const { ops, groups } = this.network;
    const maxNorm = this.optimizer.gradient_clipping;
    if (groups.tpSize === 1 && groups.ppSize === 1 && !this.dp) {
      grads.forEach((g, i) => {
        ops.sumSquares(g, this.squares, i);
      });
      ops.clipFactor({
        squares: this.squares,
        count: grads.length,
        maxNorm,
        factor: this.factor,
        norm: this.norm,
      });
      return (await ops.read(this.norm))[0]!;
    }
    const total = Float64Array.of(await weightedSquares(this.network, grads, this.normRuns));
    for (const axis of ['tp', 'pp', 'dp'] as const) await groups[axis]?.allReduce(total);
    const norm = Math.sqrt(total[0]!);
    ops.write(this.factor, Float32Array.of(Math.min(1, maxNorm / (norm + 1e-6))));
    return norm;
  }

  async saveState(): Promise<TrainState> {
    const read = (ts: readonly Tensor[]) => Promise.all(ts.map((t) => this.network.ops.read(t)));
    return {
      steps: this.steps,
      params: await read(this.network.params),
      m: await read(this.m),
      v: await read(this.v),
    };
  }
  /** A state of this layout (see recutState for others). Throws ConfigError before anything is written. */
  loadState(state: TrainState): void {
    const all = [
      [this.network.params, state.params],
      [this.m, state.m],
      [this.v, state.v],
    ] as const;
    for (const [ts, data] of all)
      ts.forEach((t, i) => {
        if (data[i]?.length !== t.size)
          throw new ConfigError(
            `optimizer state of segment ${i} has ${data[i]?.length ?? 0} elements, the model has ${t.size}; resume with the same model and layout`,
          );
      });
    this.steps = state.steps;
    for (const [ts, data] of all)
      ts.forEach((t, i) => {
        this.network.ops.write(t, data[i]!);
      });
  }
  free(): void {
    this.network.ops.free(...this.m, ...this.v, this.squares, this.factor, this.norm);
  }
}

/** Runs of neighbouring parameters with one decay flag, per segment: one dispatch each. */
export function decayRuns(
  locals: readonly LocalParam[],
  segmentSizes: readonly number[],
): DecayRun[] {
  const runs: DecayRun[] = [];
  for (const p of locals) {
    const last = runs.at(-1);
    if (last?.segment === p.segment && last.decay === p.spec.decay) continue;
    if (last?.segment === p.segment) last.end = p.offset;
    runs.push({
      segment: p.segment,
      begin: p.offset,
      end: segmentSizes[p.segment]!,
      decay: p.spec.decay,
    });
  }
  return runs;
}
