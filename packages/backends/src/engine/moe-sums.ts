/**
 * What routers of mixtures of experts did in a step, as stats: sums over microbatches, data-parallel ranks and pipeline
 * stages. A microbatch's auxiliary loss counts by its share of the step's tokens; the sum over layers is what is added to
 * the loss.
 */
import type { MoeStats, ParallelGroups, Stats } from '@realhf/api';

export class MoeSums {
  private readonly sums = new Float64Array(6);

  /** Of a microbatch with this share of the step's tokens. */
  add(stats: MoeStats, weight: number): void {
    const { auxLoss, zLoss, maxLoad, layers, dropped, copies } = stats;
    [weight * auxLoss, weight * zLoss, weight * maxLoad, weight * layers, dropped, copies].forEach(
      (v, i) => (this.sums[i]! += v),
    );
  }

  /** Collective over dp and pp; empty, and not collective, where nothing was added (no mixture of experts). */
  async stats({ dp, pp }: ParallelGroups): Promise<Stats> {
    if (this.sums[5] === 0) return {};
    for (const group of [dp, pp]) if (group && group.size > 1) await group.allReduce(this.sums);
    const [aux = 0, z = 0, maxLoad = 0, layers = 1, dropped = 0, copies = 1] = this.sums;
    return {
      moe_aux_loss: aux,
      moe_z_loss: z,
      moe_max_load: maxLoad / layers,
      moe_drop_fraction: dropped / copies,
    };
  }
}
