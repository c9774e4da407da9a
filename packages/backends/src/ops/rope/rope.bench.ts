/** Timing of rope over 1024 tokens of a tiny model. */
import type { Bench } from '../../testing/bench.js';
import { rope } from './rope.js';

const [rows, nHeads, headDim] = [1024, 4, 16];

export const benches: readonly Bench[] = [
  {
    name: `rope ${rows}×${nHeads}×${headDim}`,
    bytes: 8 * rows * nHeads * headDim,
    setup(r) {
      const x = { tensor: r.alloc([rows, nHeads * headDim]), offset: 0, stride: nHeads * headDim };
      const positions = r.alloc([rows], 'u32');
      r.write(
        positions,
        Uint32Array.from({ length: rows }, (_, i) => i),
      );
      const cosSin = r.alloc([rows, headDim]);
      return () => {
        rope(r, { x, rows, nHeads, headDim, rotaryDim: headDim, positions, cosSin });
      };
    },
  },
];
