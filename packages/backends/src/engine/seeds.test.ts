import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { sequenceSeeds } from './seeds.js';

describe('sequenceSeeds', () => {
  it('defect 29: differ between ids and between seeds, also neighbouring ones', () => {
    const ids = Array.from({ length: 2000 }, (_, i) => `${i}`);
    const all = [0, 1, 2, -1].flatMap((seed) => [...sequenceSeeds(seed, ids)]);
    // 8000 draws of 2³² collide 0.007 times on average.
    expect(new Set(all).size).toBe(8000);
  });

  it('do not depend on the batch', () => {
    fc.assert(
      fc.property(fc.integer(), fc.array(fc.string()), (seed, ids) => {
        const alone = ids.map((id) => sequenceSeeds(seed, [id])[0]);
        expect([...sequenceSeeds(seed, ids)]).toEqual(alone);
      }),
      { seed: 1 },
    );
  });

  it('use all 32 bits', () => {
    const seeds = sequenceSeeds(
      7,
      Array.from({ length: 4000 }, (_, i) => `p${i}`),
    );
    for (let bit = 0; bit < 32; bit++) {
      const share = seeds.reduce((n, s) => n + ((s >>> bit) & 1), 0) / seeds.length;
      expect(Math.abs(share - 0.5), `bit ${bit}`).toBeLessThan(0.05);
    }
  });
});
