/** Dropout of a residual stream. */
import type { Bench } from '../../testing/bench.js';
import { randomScale } from './random-scale.js';

const [rows, columns] = [4096, 1024];

export const benches: Bench[] = [
  {
    name: `dropout ${rows}×${columns}`,
    bytes: 8 * rows * columns,
    setup: (r) => {
      const [x, out, keys] = [
        r.alloc([rows, columns]),
        r.alloc([rows, columns]),
        r.alloc([rows], 'u32'),
      ];
      return () => {
        randomScale(r, { x, out, keys, stream: 1, kind: 'dropout', amount: 0.1 });
      };
    },
  },
];
