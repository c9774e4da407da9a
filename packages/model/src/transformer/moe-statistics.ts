/** Sums that the routers of one pass leave on the device, and the auxiliary losses and loads that they amount to. */
import type { Arena, ModelConfig, MoeConfig, MoeStats, Ops, Tensor } from '@realhf/api';

/** Sums of one layer: f32 [E + 1] softmax over all experts ‖ lse², u32 [E] copies of each expert, u32 [E + 1] offsets. */
export interface LayerSums {
  readonly probs: Tensor;
  readonly counts: Tensor;
  readonly offsets: Tensor;
}

export class MoeStatistics {
  private readonly ops: Ops;
  private readonly moe: MoeConfig;
  private readonly tokens: number;
  private readonly layers = new Set<number>();
  /** [layers, E + 1] and u32 [layers, 2E + 1]. */
  private readonly floats: Tensor;
  private readonly ints: Tensor;

  constructor(arena: Arena, config: ModelConfig, moe: MoeConfig, tokens: number) {
    this.ops = arena.ops;
    this.moe = moe;
    this.tokens = tokens;
    this.floats = arena.empty([config.nLayers, moe.numExperts + 1]);
    this.ints = arena.empty([config.nLayers, 2 * moe.numExperts + 1], 'u32');
  }

  /** Once per layer; a checkpointed layer that runs again adds nothing. */
  record(layer: number, sums: LayerSums): void {
    if (this.layers.has(layer)) return;
    const n = this.moe.numExperts;
    const at = this.layers.size;
    this.layers.add(layer);
    this.ops.copy(sums.probs, this.floats, n + 1, 0, at * (n + 1));
    this.ops.copy(sums.counts, this.ints, n, 0, at * (2 * n + 1));
    this.ops.copy(sums.offsets, this.ints, n + 1, 0, at * (2 * n + 1) + n);
  }

  async read(): Promise<MoeStats> {
    const { topK, numExperts: n } = this.moe;
    const layers = this.layers.size;
    const floats = await this.ops.read(this.floats, 0, layers * (n + 1));
    const ints = await this.ops.readInts(this.ints, 0, layers * (2 * n + 1));
    const copies = this.tokens * topK;
    const scales = auxScales(this.moe, this.tokens, 1);
    const sum = { auxLoss: 0, zLoss: 0, maxLoad: 0, dropped: 0 };
    for (let l = 0; l < layers; l++) {
      const probs = floats.subarray(l * (n + 1), (l + 1) * (n + 1));
      const counts = ints.subarray(l * (2 * n + 1), (l + 1) * (2 * n + 1));
      for (let e = 0; e < n; e++) sum.auxLoss += scales.auxScale * probs[e]! * counts[e]!;
      sum.zLoss += scales.zScale * probs[n]!;
      sum.maxLoad += (Math.max(...counts.subarray(0, n)) * n) / copies;
      sum.dropped += copies - counts[2 * n]!;
    }
    return { layers, copies: layers * copies, ...sum };
  }
}

/** Factors of Σ_e counts_e·Σ_t softmax_e and of Σ_t lse² in the loss, for `tokens` of weight `weight`. */
export function auxScales(
  moe: MoeConfig,
  tokens: number,
  weight: number,
): { auxScale: number; zScale: number } {
  const copies = tokens * moe.topK;
  const balances = moe.routing === 'aux_loss';
  return {
    auxScale: balances ? (weight * moe.auxLossCoeff * moe.numExperts) / copies ** 2 : 0,
    zScale: (weight * moe.zLossCoeff) / tokens,
  };
}
