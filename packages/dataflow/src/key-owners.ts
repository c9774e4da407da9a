/**
 * Which workers hold which keys of which items, and what workers must pull before a call: the plan of data transfer.
 * A worker that pulled a key holds it from then on, so nothing is moved twice to the same place; but it can serve
 * others only once the pull is known to be over (`confirm`). Of several holders the one that has served least serves.
 */
import { DataError } from '@realhf/api';

/** Tensors that a worker takes from another one. */
export interface Pull {
  readonly from: string;
  readonly ids: readonly string[];
  readonly keys: readonly string[];
}

/** How much a key of an item weighs, in any unit, for the balance. */
export type SizeOf = (id: string, key: string) => number;

interface Holders {
  /** Have it, the maker first. */
  readonly ready: Set<string>;
  /** Will have it before their next request. */
  readonly coming: Set<string>;
}

/** Which worker holds which tensors of which items. */
export class KeyOwners {
  /** Id → key → holders. */
  private readonly owners = new Map<string, Map<string, Holders>>();
  /** What each worker has been asked to serve. */
  private readonly served = new Map<string, number>();

  /** `worker` has them now. */
  add(worker: string, ids: readonly string[], keys: Iterable<string>): void {
    this.each(ids, keys, (h) => {
      h.coming.delete(worker);
      h.ready.add(worker);
    });
  }
  /** `worker` has been told to pull what it lacks: it must not be told again. */
  expect(worker: string, ids: readonly string[], keys: Iterable<string>): void {
    this.each(ids, keys, (h) => {
      if (!h.ready.has(worker)) h.coming.add(worker);
    });
  }
  /** The pulls are over; items that were dropped meanwhile stay unknown. */
  confirm(worker: string, ids: readonly string[], keys: Iterable<string>): void {
    const known = ids.filter((id) => this.owners.has(id));
    this.add(worker, known, keys);
  }

  drop(ids: Iterable<string>): void {
    for (const id of ids) this.owners.delete(id);
  }
  clear(): void {
    this.owners.clear();
    this.served.clear();
  }

  /** What `worker` lacks, one pull per (owner, set of items), keys together; throws DataError if nobody has it. */
  plan(
    worker: string,
    ids: readonly string[],
    keys: readonly string[],
    sizeOf: SizeOf = () => 1,
  ): Pull[] {
    const pulls = new Map<string, { from: string; ids: readonly string[]; keys: string[] }>();
    for (const key of keys)
      for (const [from, some] of this.sources(worker, ids, key, sizeOf)) {
        const group = JSON.stringify([from, some]);
        const pull = pulls.get(group);
        if (pull) pull.keys.push(key);
        else pulls.set(group, { from, ids: some, keys: [key] });
      }
    return [...pulls.values()];
  }

  /** Who gives which ids of one key. Ids with the same holders come from one of them, so that messages stay few. */
  private sources(
    worker: string,
    ids: readonly string[],
    key: string,
    sizeOf: SizeOf,
  ): Map<string, string[]> {
    const byHolders = new Map<string, { holders: readonly string[]; ids: string[] }>();
    for (const id of ids) {
      const held = this.owners.get(id)?.get(key);
      if (!held?.ready.size) throw new DataError(`no worker holds key '${key}' of item '${id}'`);
      if (held.ready.has(worker) || held.coming.has(worker)) continue;
      const holders = [...held.ready];
      const group = byHolders.get(holders.join('\n'));
      if (group) group.ids.push(id);
      else byHolders.set(holders.join('\n'), { holders, ids: [id] });
    }
    const bySource = new Map<string, string[]>();
    for (const group of byHolders.values()) {
      const load = (w: string) => this.served.get(w) ?? 0;
      const from = group.holders.reduce((a, b) => (load(b) < load(a) ? b : a));
      this.served.set(from, load(from) + group.ids.reduce((n, id) => n + sizeOf(id, key), 0));
      bySource.set(from, [...(bySource.get(from) ?? []), ...group.ids]);
    }
    return bySource;
  }

  private each(ids: readonly string[], keys: Iterable<string>, act: (h: Holders) => void): void {
    const names = [...keys];
    for (const id of ids) {
      const byKey = this.owners.get(id) ?? new Map<string, Holders>();
      this.owners.set(id, byKey);
      for (const key of names) {
        const holders = byKey.get(key) ?? { ready: new Set<string>(), coming: new Set<string>() };
        byKey.set(key, holders);
        act(holders);
      }
    }
  }
}
