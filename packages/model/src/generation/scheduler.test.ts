import fc from 'fast-check';
import { expect, test } from 'vitest';

import { PagePool } from './page-pool.js';
import { Scheduler, type Sequence, type Slot } from './scheduler.js';

interface Named extends Sequence {
  readonly name: number;
}

/** Prompts over two letters, so that prefixes and whole prompts often coincide. */
const sequences = fc.array(
  fc.record({
    prompt: fc
      .array(fc.integer({ min: 0, max: 1 }), { minLength: 1, maxLength: 14 })
      .map((p) => Int32Array.from(p)),
    maxNewTokens: fc.integer({ min: 1, max: 6 }),
  }),
  { minLength: 1, maxLength: 14 },
);

test('whatever the budgets: every key is computed once before it is read, pages of others stay alone, first come first served', () => {
  const options = fc.record({
    maxSequences: fc.integer({ min: 1, max: 6 }),
    prefillTokens: fc.integer({ min: 1, max: 20 }),
    pageSize: fc.constantFrom(1, 2, 4),
    spare: fc.nat(10),
    life: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1 }),
  });
  fc.assert(
    fc.property(sequences, options, (all, o) => {
      const most = Math.max(
        ...all.map((s) => Math.ceil((s.prompt.length + s.maxNewTokens) / o.pageSize)),
      );
      const pool = new PagePool(most + o.spare, o.pageSize);
      const scheduler = new Scheduler<Named>(pool, o);
      all.forEach((s, name) => {
        scheduler.enqueue({ ...s, name });
      });
      // What the device would hold: per page and place the tokens up to there.
      const held = new Map<number, string>();
      const place = (slot: Slot<Named>, i: number) =>
        slot.pages[Math.floor(i / o.pageSize)]! * o.pageSize + (i % o.pageSize);
      const prefix = (slot: Slot<Named>, i: number) =>
        slot.sequence.prompt.subarray(0, i + 1).join();
      const alive: { slot: Slot<Named>; rest: number }[] = [];
      const completed: number[] = [];
      for (let round = 0; scheduler.waiting.length > 0 || scheduler.running > 0; round++) {
        expect(round).toBeLessThan(1000);
        const chunk = scheduler.nextChunk();
        if (chunk) {
          const tokens = chunk.pieces.reduce((n, p) => n + p.end - p.begin, 0);
          expect(tokens).toBeLessThanOrEqual(o.prefillTokens);
          for (const { slot, begin, end } of chunk.pieces)
            for (let i = begin; i < end; i++) held.set(place(slot, i), prefix(slot, i));
          for (const { slot, end } of chunk.pieces)
            for (let i = 0; i < end; i++) expect(held.get(place(slot, i))).toBe(prefix(slot, i));
          for (const [from, to] of chunk.copies)
            for (let i = 0; i < o.pageSize; i++) {
              const x = held.get(from * o.pageSize + i);
              if (x !== undefined) held.set(to * o.pageSize + i, x);
            }
          for (const { slot, piece } of chunk.completed) {
            expect(chunk.pieces[piece]!.slot.sequence.prompt).toEqual(slot.sequence.prompt);
            completed.push(slot.sequence.name);
            alive.push({ slot, rest: o.life[slot.sequence.name % o.life.length]! });
          }
        }
        // New tokens of each go where nobody else reads.
        for (const { slot } of alive) {
          const { prompt, maxNewTokens } = slot.sequence;
          for (let i = prompt.length; i < prompt.length + maxNewTokens; i++)
            held.set(place(slot, i), `${slot.sequence.name}:${i}`);
        }
        for (const { slot } of alive) {
          const { prompt, maxNewTokens } = slot.sequence;
          for (let i = 0; i < prompt.length; i++)
            expect(held.get(place(slot, i))).toBe(prefix(slot, i));
          for (let i = prompt.length; i < prompt.length + maxNewTokens; i++)
            expect(held.get(place(slot, i))).toBe(`${slot.sequence.name}:${i}`);
        }
        for (const a of [...alive])
          if (a.rest-- <= 0) {
            scheduler.release(a.slot);
            alive.splice(alive.indexOf(a), 1);
          }
      }
      expect([...completed].sort((a, b) => a - b)).toEqual(all.map((_, i) => i));
      expect(pool.available).toBe(pool.pages);
    }),
    { seed: 2, numRuns: 100 },
  );
});

test('equal prompts that wait together run once, later ones find all but their last page', () => {
  const pool = new PagePool(64, 4);
  const scheduler = new Scheduler<Sequence>(pool, { maxSequences: 8, prefillTokens: 64 });
  const prompt = Int32Array.from({ length: 10 }, (_, i) => i);
  for (let i = 0; i < 4; i++) scheduler.enqueue({ prompt, maxNewTokens: 3 });
  const first = scheduler.nextChunk()!;
  expect(first.pieces.map((p) => [p.begin, p.end])).toEqual([[0, 10]]);
  expect(first.completed.map((c) => c.piece)).toEqual([0, 0, 0, 0]);
  expect(first.copies.length).toBe(3);
  // 2 shared full pages, and 2 of its own for each: the partial one and new tokens.
  expect(pool.available).toBe(64 - 2 - 4 * 2);
  scheduler.enqueue({ prompt, maxNewTokens: 3 });
  const second = scheduler.nextChunk()!;
  expect(second.pieces.map((p) => [p.begin, p.end])).toEqual([[8, 10]]);
  expect(second.whole).toBe(false);
});

test('pages without owners are found again until they are needed', () => {
  const pool = new PagePool(4, 2);
  const prompt = Int32Array.of(1, 2, 3, 4);
  const pages = pool.take(2)!;
  pool.publish(prompt, pages);
  pool.release(pages);
  expect(pool.match(prompt, 2)).toEqual(pages);
  pool.release(pages);
  // The second page goes before the first: without it nothing after it could be found.
  expect(pool.take(3)).not.toContain(pages[0]);
  expect(pool.match(prompt, 2)).toEqual([pages[0]]);
  expect(pool.take(1)).toBeUndefined();
  pool.clear();
  expect(pool.match(prompt, 2)).toEqual([]);
});

test('longest first: who waits goes by most new tokens, then by arrival', () => {
  const options = { maxSequences: 2, prefillTokens: 64, longestFirst: true };
  const scheduler = new Scheduler<Sequence & { readonly name: number }>(
    new PagePool(64, 4),
    options,
  );
  [3, 9, 5, 9, 1].forEach((maxNewTokens, name) => {
    scheduler.enqueue({ prompt: Int32Array.of(name), maxNewTokens, name });
  });
  const order: number[] = [];
  for (let chunk = scheduler.nextChunk(); chunk; chunk = scheduler.nextChunk())
    for (const { slot } of chunk.completed) {
      order.push(slot.sequence.name);
      scheduler.release(slot);
    }
  expect(order).toEqual([1, 3, 2, 0, 4]);
});
