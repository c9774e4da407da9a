/**
 * DataSource: where a worker takes items from, one that makes them by index and one over a list (reference: D15). An epoch ends with
 * exactly one `undefined`, after which the next epoch begins; items that do not fill the last batch are dropped.
 */
import { CheckpointError, ConfigError, SequenceSample } from '@realhf/api';
import { z } from 'zod';

/** Where training items come from, epoch after epoch, with a position that can be restored. */
export interface DataSource {
  /** Items of one epoch. */
  readonly size: number;
  /** Epoch of the next item, from 0. */
  readonly epoch: number;
  /** Exactly n items, or undefined when fewer are left: the epoch is over and the next call starts the next one. */
  next(n: number): SequenceSample | undefined | Promise<SequenceSample | undefined>;
  /** JSON-able position. */
  state(): unknown;
  /** Throws CheckpointError on a state that is not this source's. */
  restore(state: unknown): void;
}

/** Order and seed of a list. */
export interface ListDataSourceOptions {
  /** Default true: another order each epoch, decided by seed and epoch alone. */
  readonly shuffle?: boolean;
  /** Default 1. */
  readonly seed?: number;
}

const positionSchema = z.object({
  epoch: z.number().int().nonnegative(),
  position: z.number().int().nonnegative(),
  size: z.number().int().positive(),
});

/** Items made when their turn comes, from their index and the epoch. */
export class IndexedDataSource implements DataSource {
  readonly size: number;
  private readonly item: (index: number, epoch: number) => SequenceSample;
  private readonly shuffle: boolean;
  private readonly seed: number;
  private order: Uint32Array;
  private position = 0;
  private currentEpoch = 0;

  /** `item` gives a SequenceSample of one id, the same for the same index and epoch. Throws ConfigError if there are none. */
  constructor(
    size: number,
    item: (index: number, epoch: number) => SequenceSample,
    options: ListDataSourceOptions = {},
  ) {
    if (size === 0) throw new ConfigError('a data source needs at least one item, got none');
    this.size = size;
    this.item = item;
    this.shuffle = options.shuffle ?? true;
    this.seed = options.seed ?? 1;
    this.order = this.orderOf(0);
  }

  get epoch(): number {
    return this.currentEpoch;
  }

  next(n: number): SequenceSample | undefined {
    if (this.position + n > this.size) {
      this.moveTo(this.currentEpoch + 1, 0);
      return undefined;
    }
    const picks = this.order.slice(this.position, this.position + n);
    this.position += n;
    const { item, currentEpoch } = this;
    return SequenceSample.gather(Array.from(picks, (i) => item(i, currentEpoch)));
  }

  state(): unknown {
    return { epoch: this.currentEpoch, position: this.position, size: this.size };
  }
  restore(state: unknown): void {
    const parsed = positionSchema.safeParse(state);
    if (!parsed.success)
      throw new CheckpointError(
        `not the position of a data source: ${JSON.stringify(state)}; restore from another checkpoint`,
      );
    if (parsed.data.size !== this.size)
      throw new CheckpointError(
        `the checkpoint was made with ${parsed.data.size} items in the dataset, now there are ${this.size}; use the same dataset`,
      );
    this.moveTo(parsed.data.epoch, parsed.data.position);
  }

  private moveTo(epoch: number, position: number): void {
    this.currentEpoch = epoch;
    this.position = position;
    this.order = this.orderOf(epoch);
  }
  private orderOf(epoch: number): Uint32Array {
    const order = Uint32Array.from({ length: this.size }, (_, i) => i);
    if (!this.shuffle) return order;
    const random = randomOf(this.seed, epoch);
    for (let i = order.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}

/** Items in memory, each a SequenceSample of one id. */
export class ListDataSource extends IndexedDataSource {
  /** Samples may hold several items each; throws ConfigError if there are none. */
  constructor(samples: readonly SequenceSample[], options: ListDataSourceOptions = {}) {
    const items = samples.flatMap((s) => s.unpack());
    super(items.length, (i) => items[i]!, options);
  }
}

/** Uniform numbers in [0, 1): a Weyl sequence through the murmur3 finalizer, its start decided by seed and epoch. */
function randomOf(seed: number, epoch: number): () => number {
  let x = mix(mix(seed | 0) ^ Math.imul(epoch + 1, 0x85ebca6b));
  return () => {
    x = (x + 0x9e3779b9) | 0;
    return (mix(x) >>> 0) / 2 ** 32;
  };
}
function mix(x: number): number {
  let h = x;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
