/** DataStore: the tensors of a worker, one SequenceSample per id. The master decides when ids leave. */
import { DataError, SequenceSample } from '@realhf/api';

export class DataStore {
  private readonly items = new Map<string, SequenceSample>();

  get size(): number {
    return this.items.size;
  }

  /** Adds items, or keys to the items that are here; a key that comes again is overwritten. */
  put(sample: SequenceSample): void {
    for (const item of sample.unpack()) {
      const id = item.ids[0]!;
      const have = this.items.get(id);
      if (have) have.update(item);
      else this.items.set(id, item);
    }
  }

  /** One batch in the order of `ids` with these keys; throws DataError naming the id or key that is not here. */
  gather(ids: readonly string[], keys: readonly string[]): SequenceSample {
    const items = ids.map((id) => {
      const item = this.items.get(id);
      if (!item)
        throw new DataError(
          `item '${id}' is not on this worker, which holds ${this.size} items; fetch it here first`,
        );
      const absent = keys.find((k) => !item.data?.[k]);
      if (absent !== undefined)
        throw new DataError(
          `item '${id}' has no tensor for key '${absent}' on this worker; it has ${Object.keys(item.data ?? {}).join(', ') || 'none'}`,
        );
      return item;
    });
    return SequenceSample.gather(items, keys);
  }

  /** Drops items; unknown ids are ignored, because every worker is told about every id. */
  clear(ids: Iterable<string>): void {
    for (const id of ids) this.items.delete(id);
  }
  clearAll(): void {
    this.items.clear();
  }
}
