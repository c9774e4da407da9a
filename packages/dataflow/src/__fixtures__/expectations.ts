/** What must hold of every run on many workers, whatever the layout. */
import { modelKey, type MFCDef } from '@realhf/api';
import { expect } from 'vitest';
import type { Placement } from '../allocation/placement.js';
import type { StepRecord } from '../step-run.js';
import { workerName, type FakeCall, type FakeCluster } from './fake-cluster.js';

/** Each rank of a mesh gets its part of the step, in order. */
export function expectIds(
  calls: readonly FakeCall[],
  mfcs: readonly MFCDef[],
  records: readonly StepRecord[],
) {
  const methods = { generate: 'generate', inference: 'inference', train_step: 'trainStep' };
  for (const mfc of mfcs) {
    const mine = calls.filter(
      (c) =>
        c.model === modelKey(mfc.model) &&
        c.method === methods[mfc.interfaceType] &&
        c.phase === 'end',
    );
    for (const rank of new Set(mine.map((c) => c.rank))) {
      const parts = mine.filter((c) => c.rank === rank).map((c) => c.ids);
      expect(parts).toHaveLength(records.length);
      parts.forEach((ids, step) => {
        const from = records[step]!.ids.indexOf(ids[0]!);
        expect(ids).toEqual(records[step]!.ids.slice(from, from + ids.length));
      });
    }
    records.forEach((r, step) => {
      const parts = new Set(
        [...new Set(mine.map((c) => c.rank))].map((rank) =>
          mine.filter((c) => c.rank === rank)[step]!.ids.join(),
        ),
      );
      expect([...parts].join().split(',').sort()).toEqual([...r.ids].sort());
    });
  }
}

/** Of any two ranks: what both took part in, they took part in in the same order. */
export function expectOneOrder(log: ReadonlyMap<number, readonly string[]>) {
  for (const [a, mine] of log)
    for (const [b, theirs] of log) {
      if (a >= b) continue;
      const both = (names: readonly string[]) =>
        names.filter((n) => {
          const ranks = n.split(' ').at(-1)!.split(',').map(Number);
          return ranks.includes(a) && ranks.includes(b);
        });
      expect(both(mine)).toEqual(both(theirs));
    }
}

/** Every key goes once to each rank that reads it and does not have it, and to no other. */
export function expectPulls(
  pulls: FakeCluster['pulls'],
  mfcs: readonly MFCDef[],
  placements: readonly Placement[],
) {
  const moved = pulls.flatMap((p) => {
    expect(p.from).not.toBe(p.to);
    return p.ids.flatMap((id) => p.keys.map((k) => `${p.to} ${id} ${k}`));
  });
  const counts = new Map<string, number>();
  for (const m of moved) counts.set(m, (counts.get(m) ?? 0) + 1);
  // Two epochs: each item twice.
  expect(Math.max(0, ...counts.values())).toBeLessThanOrEqual(2);
  const readers = new Map<string, Set<string>>();
  for (const m of mfcs)
    for (const rank of placements.find((p) => modelKey(p.model) === modelKey(m.model))!.ranks)
      for (const k of m.inputKeys)
        readers.set(k, (readers.get(k) ?? new Set()).add(workerName(rank)));
  for (const m of moved) {
    const [to, , key] = m.split(' ');
    expect(readers.get(key!)).toContain(to);
  }
}
