/** Rows gathered by index. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { random } from '../../testing/numbers.js';
import { gatherRows, scatterRows } from './rows.js';

const [rows, columns] = [4096, 256];

export const benches: Bench[] = [
  {
    name: `gather rows ${rows}×${columns}`,
    bytes: 8 * rows * columns,
    setup: (r) => {
      const rand = random(1);
      const index = upload(
        r,
        Uint32Array.from({ length: rows }, () => Math.floor(rand() * rows)),
        [rows],
        'u32',
      );
      const [x, out] = [r.alloc([rows, columns]), r.alloc([rows, columns])];
      return () => {
        gatherRows(r, x, index, out);
      };
    },
  },
  {
    name: `scatter rows ${rows}×${columns}`,
    bytes: 8 * rows * columns,
    setup: (r) => {
      const index = upload(
        r,
        new Uint32Array(rows).map((_, i) => rows - 1 - i),
        [rows],
        'u32',
      );
      const src = { tensor: r.alloc([rows, columns]), offset: 0, stride: columns };
      const dst = r.alloc([rows, columns]);
      return () => {
        scatterRows(r, { src, index, rows, columns, dst });
      };
    },
  },
];
