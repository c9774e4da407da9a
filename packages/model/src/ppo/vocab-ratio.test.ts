import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { expectClose, uniform } from '../losses/test-losses.js';
import { encodeKept, joinKept } from '../generation/kept-sets.js';
import { packRollout, randomRollout, withKeptSets } from './test-rollouts.js';
import { validVocabRatio } from './vocab-ratio.js';

describe('validVocabRatio', () => {
  it('is the mean share of kept tokens on the lines of masked-in entries', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.nat(), (vocab, seed) => {
        const u = uniform(seed);
        const seqs = randomRollout(3, seed);
        const words = Math.ceil(vocab / 32);
        const tokens = seqs.reduce((n, s) => n + s.values.length, 0);
        const bits = Uint32Array.from({ length: tokens * words }, () => u() * 2 ** 32);
        const records = joinKept(
          Array.from({ length: tokens }, (_, t) =>
            encodeKept(bits.subarray(t * words, (t + 1) * words), vocab),
          ),
        );
        const mask = Uint8Array.from({ length: tokens - 3 }, () => (u() < 0.5 ? 1 : 0));
        const shares: number[] = [];
        let line = 0;
        let entry = 0;
        for (const s of seqs) {
          for (let t = 0; t < s.values.length; t++, line++) {
            if (t === s.values.length - 1 || !mask[entry++]) continue;
            let kept = 0;
            for (let v = 0; v < vocab; v++)
              kept += (bits[line * words + (v >> 5)]! >>> (v & 31)) & 1;
            shares.push(kept / vocab);
          }
        }
        fc.pre(shares.length > 0);
        const sample = withKeptSets(packRollout(seqs), records, vocab);
        const got = validVocabRatio(sample, mask, vocab);
        expectClose([got!], [shares.reduce((a, b) => a + b, 0) / shares.length], 1e-12);
      }),
      { seed: 1, numRuns: 100 },
    );
  });
  it('is absent where nothing was filtered', () => {
    const seqs = randomRollout(1, 1);
    const mask = new Uint8Array(seqs[0]!.old.length).fill(1);
    expect(validVocabRatio(packRollout(seqs), mask, 10)).toBeUndefined();
  });
});
