/** Offsets, and the indices of shifted vectors against the loops that define them. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DataError } from '@realhf/api';
import { cuSeqlens, leaveOneIndices, lengthsOf, shiftOneIndices, shortOne } from './cu-seqlens.js';

it('sums lengths with a leading 0', () => {
  expect(cuSeqlens([3, 0, 2])).toEqual(new Int32Array([0, 3, 3, 5]));
  expect(cuSeqlens([])).toEqual(new Int32Array([0]));
  expect(() => cuSeqlens([1, -1])).toThrow(/sequence 1/);
  expect(() => cuSeqlens([2 ** 31])).toThrow(DataError);
});

it('shifts by one per sequence', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 8 }), (lengths) => {
      const cu = cuSeqlens(lengths);
      expect([...lengthsOf(cu)]).toEqual(lengths);
      expect([...lengthsOf(shortOne(cu))]).toEqual(lengths.map((l) => l - 1));
      const logits: number[] = [];
      const labels: number[] = [];
      let at = 0;
      for (const l of lengths) {
        for (let t = 0; t + 1 < l; t++) {
          logits.push(at + t);
          labels.push(at + t + 1);
        }
        at += l;
      }
      expect([...leaveOneIndices(cu)]).toEqual(logits);
      expect([...shiftOneIndices(cu)]).toEqual(labels);
    }),
  );
  expect(() => shortOne(new Int32Array([0, 0]))).toThrow(DataError);
});
