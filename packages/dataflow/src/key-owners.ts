/**
 * Which workers hold which keys of which items, and what a worker must pull before a call: the plan of data transfer.
 * A worker that pulled a key holds it from then on, so nothing is moved twice to the same place.
 */
import { DataError } from '@realhf/api';

/** Tensors that a worker takes from another one. */
export interface Pull {
  readonly from: string;
  readonly ids: readonly string[];
  readonly keys: readonly string[];
}

export class KeyOwners {
  /** Id → key → workers, the maker first. */
  private readonly owners = new Map<string, Map<string, Set<string>>>();

  add(worker: string, ids: readonly string[], keys: Iterable<string>): void {
    const names = [...keys];
    for (const id of ids) {
      const byKey = this.owners.get(id) ?? new Map<string, Set<string>>();
      this.owners.set(id, byKey);
      for (const key of names) byKey.set(key, (byKey.get(key) ?? new Set()).add(worker));
    }
  }

  drop(ids: Iterable<string>): void {
    for (const id of ids) this.owners.delete(id);
  }
  clear(): void {
    this.owners.clear();
  }

  /** What `worker` lacks, one pull per (owner, set of items), keys together; throws DataError if nobody has it. */
  plan(worker: string, ids: readonly string[], keys: readonly string[]): Pull[] {
    const pulls = new Map<string, { from: string; ids: readonly string[]; keys: string[] }>();
    for (const key of keys) {
      const byOwner = new Map<string, string[]>();
      for (const id of ids) {
        const holders = this.owners.get(id)?.get(key);
        const from = holders?.values().next().value;
        if (!holders || from === undefined)
          throw new DataError(`no worker holds key '${key}' of item '${id}'`);
        if (holders.has(worker)) continue;
        byOwner.set(from, [...(byOwner.get(from) ?? []), id]);
      }
      for (const [from, some] of byOwner) {
        const group = JSON.stringify([from, some]);
        const pull = pulls.get(group);
        if (pull) pull.keys.push(key);
        else pulls.set(group, { from, ids: some, keys: [key] });
      }
    }
    return [...pulls.values()];
  }
}
