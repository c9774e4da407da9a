/**
 * AdamEngine: gradient accumulation over microbatches, global-norm clip, AdamW on f32 masters. A step that meets a
 * loss or a gradient norm that is not finite throws before any parameter changes.
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
  type TrainEngine,
  type TrainOptions,
} from '@realhf/api';

import { learningRate } from './lr-schedule.js';
import { NetworkEngine } from './network-engine.js';

/** Raw segments for an exact resume in the same layout. */
export interface TrainState {
  readonly steps: number;
  readonly params: readonly Float32Array[];
  readonly m: readonly Float32Array[];
  readonly v: readonly Float32Array[];
}

interface DecayRun {
  readonly segment: number;
  readonly begin: number;
  end: number;
  readonly decay: boolean;
}

export class AdamEngine extends NetworkEngine implements TrainEngine {
  readonly optimizer: OptimizerConfig;
  /** Train steps of the whole run, where the schedule ends; minibatches of one train step share a rate. */
  readonly totalSteps: number;
  private readonly m: readonly Tensor[];
  private readonly v: readonly Tensor[];
  private readonly squares: Tensor;
  private readonly factor: Tensor;
  private readonly norm: Tensor;
  private readonly runs: readonly DecayRun[];
  private steps = 0;

  constructor(network: Network, options: { optimizer: OptimizerConfig; totalSteps: number }) {
    super(network);
    this.optimizer = options.optimizer;
    this.totalSteps = options.totalSteps;
    const { ops } = network;
    this.m = network.params.map((p) => ops.zeros(p.shape));
    this.v = network.params.map((p) => ops.zeros(p.shape));
    this.squares = ops.zeros([Math.max(network.params.length, 2 * network.locals.length)]);
    this.factor = ops.zeros([1]);
    this.norm = ops.zeros([1]);
    this.runs = decayRuns(network.locals, network.shardMap.segmentSizes);
  }

  async trainBatch(input: SequenceSample, loss: Loss, options: TrainOptions): Promise<Stats> {
    const { network } = this;
    const { ops } = network;
    const grads = network.gradients();
    for (const g of grads) ops.fill(g, 0);
    const stats = await this.lossPasses(input, loss, options, true);
    await network.finishGradients();
    await this.reduceOverData(grads);
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
      this.steps++;
      const { beta1, beta2, eps, weight_decay: decay } = this.optimizer;
      for (const run of this.runs) {
        ops.adam({
          param: network.params[run.segment]!,
          grad: grads[run.segment]!,
          m: this.m[run.segment]!,
          v: this.v[run.segment]!,
          begin: run.begin,
          end: run.end,
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
    return { ...stats, grad_norm: norm, lr, ...(loss.skipStep ? { skipped } : {}) };
  }

  private async reduceOverData(grads: readonly Tensor[]): Promise<void> {
    const { dp } = this.network.groups;
    if (!dp || dp.size === 1) return;
    for (const g of grads) {
      const host = await this.network.ops.read(g);
      await dp.allReduce(host);
      this.network.ops.write(g, host);
    }
  }

  /** Leaves min(1, clip/‖g‖) in `factor` and returns the global ‖g‖. */
  private async clip(grads: readonly Tensor[]): Promise<number> {
    const { ops, groups, locals } = this.network;
    const maxNorm = this.optimizer.gradient_clipping;
    if (groups.tpSize === 1 && groups.ppSize === 1) {
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
    const parts = locals.flatMap((p) => this.shares(p));
    parts.forEach(({ param: p, begin, size }, i) => {
      // A part may begin where no view can.
      const part = ops.empty([size]);
      ops.copy(grads[p.segment]!, part, size, p.offset + begin, 0);
      ops.sumSquares(part, this.squares, i);
      ops.free(part);
    });
    const each = await ops.read(this.squares);
    const total = Float64Array.of(parts.reduce((s, { share }, i) => s + each[i]! * share, 0));
    await groups.tp?.allReduce(total);
    await groups.pp?.allReduce(total);
    const norm = Math.sqrt(total[0]!);
    ops.write(this.factor, Float32Array.of(Math.min(1, maxNorm / (norm + 1e-6))));
    return norm;
  }

  /**
   * Parts of a parameter with 1 over the number of ranks that hold the same values, so that the sum over ranks counts
   * each once. Of a fused qkv with fewer kv heads than ranks, q is this rank's own and k, v are shared.
   */
  private shares(
    param: LocalParam,
  ): { param: LocalParam; begin: number; size: number; share: number }[] {
    const { groups, config } = this.network;
    const { spec } = param;
    const size = param.shape.reduce((a, b) => a * b, 1);
    const whole = (share: number) => [{ param, begin: 0, size, share }];
    const tied = config.tiedEmbedding && !config.isCritic && groups.ppSize > 1;
    if (tied && spec.name === '0.wte.weight') return whole(groups.coordinates.pp === 0 ? 1 : 0);
    if (groups.tpSize === 1 || size * groups.tpSize === spec.size) return whole(1);
    if (size === spec.size) return whole(1 / groups.tpSize);
    const q = (config.nHeads / groups.tpSize) * config.headDim * (param.shape[1] ?? 1);
    return [
      { param, begin: 0, size: q, share: 1 },
      { param, begin: q, size: size - q, share: config.nKvHeads / groups.tpSize },
    ];
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
  loadState(state: TrainState): void {
    this.steps = state.steps;
    const write = (ts: readonly Tensor[], data: readonly Float32Array[]) => {
      ts.forEach((t, i) => {
        if (data[i]?.length !== t.size)
          throw new ConfigError(
            `optimizer state of segment ${i} has ${data[i]?.length ?? 0} elements, the model has ${t.size}; resume with the same model and layout`,
          );
        this.network.ops.write(t, data[i]);
      });
    };
    write(this.network.params, state.params);
    write(this.m, state.m);
    write(this.v, state.v);
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
