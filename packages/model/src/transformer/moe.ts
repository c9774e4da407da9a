/**
 * Mixture of experts in place of a block's MLP (Shazeer et al. 2017; routing and losses as in Mixtral, arXiv 2401.04088,
 * and Megatron-LM). Copies of tokens are sorted by expert on the device and all experts run in one launch. Under tensor
 * parallelism every expert's inner dimension is cut, the router is replicated and its gradient is whole on every rank.
 */
import { Arena, type MoeConfig, type MoeScores, type Ops, type Tensor } from '@realhf/api';

import type { BatchTensors } from './batch.js';
import { auxScales } from './moe-statistics.js';
import type { Residual } from './residual.js';
import { rowsOf, type RowPieces } from './row-pieces.js';
import type { Shard } from './shard.js';
import { noiseStream, type Training } from './training.js';

/** What backward needs of forward. N = tokens·topK copies. */
export interface MoeSaved {
  /** What the router saw, where that is not the input itself. */
  readonly jittered: Tensor | undefined;
  readonly logits: Tensor;
  readonly experts: Tensor;
  readonly probs: Tensor;
  readonly rowOf: Tensor;
  readonly tokenOf: Tensor;
  readonly offsets: Tensor;
  readonly counts: Tensor;
  /** [N, 2·inner], [N, inner], [N, hidden]. Backward overwrites `pre`. */
  readonly pre: Tensor;
  readonly act: Tensor;
  readonly outputs: Tensor;
}

type Tokens = Pick<BatchTensors, 't' | 'nTokens' | 'training'>;

export class Moe {
  private readonly shard: Shard;
  private readonly ops: Ops;
  private readonly layer: number;
  private readonly config: MoeConfig;
  private readonly residual: Residual;

  constructor(shard: Shard, layer: number, config: MoeConfig, residual: Residual) {
    this.shard = shard;
    this.ops = shard.ops;
    this.layer = layer;
    this.config = config;
    this.residual = residual;
  }

  private name(part: 'router' | 'experts_gate_up' | 'experts_down'): string {
    return `${this.layer}.mlp.${part}.weight`;
  }
  private get scores(): MoeScores {
    if (this.config.routing !== 'sinkhorn') return 'selected';
    return this.config.topK === 1 ? 'sigmoid' : 'all';
  }
  /** Keys of the router's jitter, which is for training mode alone. */
  private jitter(training: Training | undefined, tokens: number) {
    const { inputJitterEps: amount } = this.config;
    const keys = training?.keys?.all;
    if (!keys || amount === 0) return undefined;
    const stream = noiseStream(this.layer, 'router');
    return { keys: this.ops.view(keys, 0, [tokens]), stream, kind: 'jitter', amount } as const;
  }

  /** x2 = x1 + the experts' outputs for `normed`, both of this rank's rows; what is saved lives in `a`. */
  async addTo(
    x1: Tensor,
    a: Arena,
    normed: Tensor,
    x2: Tensor,
    { t, nTokens, training }: Tokens,
  ): Promise<MoeSaved> {
    const { ops, shard } = this;
    const shape = [nTokens, shard.config.hiddenDim];
    const work = new Arena(ops);
    const input = await shard.allTokens(work, normed, t);
    const partial = t === x1.shape[0] ? x2 : ops.empty([t, shape[1]!]);
    // Padding is no expert's.
    if (nTokens < t) ops.fill(partial, 0);
    const saved = this.forward(a, ops.view(input, 0, shape), ops.view(partial, 0, shape), training);
    await this.residual.add(x1, partial, 'mlp.down', x2, training);
    work.release();
    return saved;
  }

  /** `input` [n, hidden] → this rank's part of the output, `out` [n, hidden]. */
  private forward(a: Arena, input: Tensor, out: Tensor, training?: Training): MoeSaved {
    const { ops, shard } = this;
    const { topK } = this.config;
    const { activation, hiddenDim, intermediateDim } = shard.config;
    const n = input.shape[0]!;
    const inner = intermediateDim / shard.groups.tpSize;
    const jitter = this.jitter(training, n);
    const jittered = jitter && a.empty([n, hiddenDim]);
    if (jittered) ops.randomScale({ ...jitter, x: input, out: jittered });
    const chosen = this.route(a, jittered ?? input, training);

    const work = new Arena(ops);
    const copies = work.empty([n * topK, hiddenDim]);
    ops.gatherRows(input, chosen.tokenOf, copies);
    const pre = a.empty([n * topK, 2 * inner]);
    const act = a.empty([n * topK, inner]);
    const outputs = a.empty([n * topK, hiddenDim]);
    const { offsets, rowOf, probs } = chosen;
    const gateUp = shard.pieces(this.name('experts_gate_up'));
    const down = shard.pieces(this.name('experts_down'));
    this.product('forward', copies, gateUp, pre, offsets);
    work.release();
    ops.gatedActivation(activation, pre, act);
    this.product('forward', act, down, outputs, offsets);
    ops.moeCombine({ rows: outputs, rowOf, weights: probs, out });
    return { jittered, ...chosen, pre, act, outputs };
  }

  /** Logits, the choice, and copies sorted by it; in train passes also what the auxiliary losses need. */
  private route(a: Arena, routed: Tensor, training: Training | undefined) {
    const { ops, shard, scores } = this;
    const { topK, numExperts, routing, capacityFactor, tokenDropPolicy } = this.config;
    const n = routed.shape[0]!;
    const work = new Arena(ops);
    const logits = a.empty([n, numExperts]);
    ops.matmul({ a: routed, b: shard.w(this.name('router')), out: logits, transB: true });
    const experts = a.empty([n, topK], 'u32');
    const probs = a.empty([n, topK]);
    const statistics = training?.moe && work.empty([n, numExperts + 1]);
    let choiceBias: Tensor | undefined;
    if (routing === 'sinkhorn' && training?.keys) {
      choiceBias = work.empty([numExperts]);
      ops.moeSinkhorn(logits, choiceBias);
    }
    ops.moeRoute({
      logits,
      topK,
      scores,
      experts,
      probs,
      ...(choiceBias ? { choiceBias } : {}),
      ...(statistics ? { statistics } : {}),
    });
    const sorted = {
      rowOf: a.empty([n, topK], 'u32'),
      tokenOf: a.empty([n * topK], 'u32'),
      offsets: a.empty([numExperts + 1], 'u32'),
      counts: a.empty([numExperts], 'u32'),
    };
    const limited = training !== undefined && capacityFactor !== undefined;
    ops.moeSort({
      experts,
      nExperts: numExperts,
      probs,
      ...(limited
        ? {
            capacity: {
              copies: Math.ceil(((n * topK) / numExperts) * capacityFactor),
              policy: tokenDropPolicy,
            },
          }
        : {}),
      ...sorted,
    });
    if (statistics) {
      const sums = work.zeros([numExperts + 1]);
      ops.biasBackward(statistics, sums);
      training.moe.record(this.layer, { probs: sums, ...sorted });
    }
    work.release();
    return { logits, experts, probs, ...sorted };
  }

  /** dOut [t, hidden] of the output of `normed` [t, hidden] → this rank's part of d normed, `dNormed`; gradients accumulate. */
  async backward(
    saved: MoeSaved,
    normed: Tensor,
    dOutput: Tensor,
    dNormed: Tensor,
    { t, nTokens: n, training }: Tokens,
  ): Promise<void> {
    const { ops, shard } = this;
    const { topK } = this.config;
    const { activation, hiddenDim } = shard.config;
    if (n < t) ops.fill(dNormed, 0);
    const [input, dOut, dInput] = [normed, dOutput, dNormed].map((x) =>
      ops.view(x, 0, [n, hiddenDim]),
    ) as [Tensor, Tensor, Tensor];
    const { offsets, rowOf, probs } = saved;
    const gateUp = this.name('experts_gate_up');
    const down = this.name('experts_down');
    const work = new Arena(ops);
    const dRows = work.empty([n * topK, hiddenDim]);
    const dWeights = work.empty([n, topK]);
    ops.moeCombineBackward({ rows: saved.outputs, rowOf, weights: probs, dOut, dRows, dWeights });
    // Each rank saw its part of the experts' inner dimension.
    await shard.allReduce(dWeights);

    const dAct = work.empty(saved.act.shape);
    this.product('input', dRows, shard.pieces(down), dAct, offsets);
    if (shard.trains(down)) this.weightProduct(dRows, saved.act, shard.gradPieces(down), offsets);
    ops.gatedActivationBackward(activation, saved.pre, dAct, saved.pre);
    work.drop(dAct);
    if (shard.trains(gateUp)) {
      const copies = work.empty([n * topK, hiddenDim]);
      ops.gatherRows(input, saved.tokenOf, copies);
      this.weightProduct(saved.pre, copies, shard.gradPieces(gateUp), offsets);
    }
    this.product('input', saved.pre, shard.pieces(gateUp), dRows, offsets);
    ops.moeCombine({ rows: dRows, rowOf, out: dInput });
    this.routerBackward(work, saved, input, dWeights, dInput, training);
    work.release();
  }

  /** Weights may be in pieces of some experts each (params/row-cuts.ts). */
  private product(
    kind: 'forward' | 'input',
    a: Tensor,
    weights: RowPieces,
    out: Tensor,
    offsets: Tensor,
  ): void {
    this.eachExperts(weights, offsets, (b, of) => {
      this.ops.groupedMatmul({ kind, a, b, out, offsets: of });
    });
  }
  private weightProduct(a: Tensor, b: Tensor, grads: RowPieces, offsets: Tensor): void {
    this.eachExperts(grads, offsets, (out, of) => {
      this.ops.groupedMatmul({ kind: 'weight', a, b, out, offsets: of });
    });
  }
  private eachExperts(
    pieces: RowPieces,
    offsets: Tensor,
    work: (piece: Tensor, offsets: Tensor) => void,
  ): void {
    const { ops } = this;
    const rowsOfOne = rowsOf(pieces) / this.config.numExperts;
    for (const { row, tensor } of pieces) {
      if (pieces.length === 1) {
        work(tensor, offsets);
        continue;
      }
      const experts = tensor.shape[0]! / rowsOfOne;
      const some = ops.empty([experts + 1], 'u32');
      ops.copy(offsets, some, experts + 1, row / rowsOfOne, 0);
      work(tensor, some);
      ops.free(some);
    }
  }

  private routerBackward(
    work: Arena,
    saved: MoeSaved,
    input: Tensor,
    dProbs: Tensor,
    dInput: Tensor,
    training: Training | undefined,
  ): void {
    const { ops, shard } = this;
    const { topK } = this.config;
    const n = dInput.shape[0]!;
    const { logits, experts, counts, jittered = input } = saved;
    const dLogits = work.empty(logits.shape);
    ops.moeRouteBackward({
      logits,
      topK,
      scores: this.scores,
      experts,
      dProbs,
      counts,
      ...auxScales(this.config, n, training?.auxWeight ?? 0),
      dLogits,
    });
    const router = this.name('router');
    shard.weightGrad(router, dLogits, jittered);
    // Parts are summed over the ranks after this; all of them have all of this one.
    if (!shard.isFirstTp) return;
    const jitter = this.jitter(training, n);
    if (!jitter) {
      ops.matmul({ a: dLogits, b: shard.w(router), out: dInput, accumulate: true });
      return;
    }
    const dRouted = work.empty(dInput.shape);
    ops.matmul({ a: dLogits, b: shard.w(router), out: dRouted });
    ops.randomScale({ ...jitter, x: dRouted, out: dInput, accumulate: true });
  }
}
