/** One decode step's attention over pages: 64 sequences of 512 keys. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import { pagedAttention } from './paged-attention.js';

const [rows, length, pageSize, heads, headDim] = [64, 512, 16, 8, 64];
const pages = (rows * length) / pageSize;
const width = heads * headDim;

export const benches: Bench[] = [
  {
    name: `paged attention ${rows} rows × ${length} keys × ${heads}·${headDim}`,
    flops: 4 * rows * length * width,
    bytes: 8 * rows * length * width,
    setup: (r) => {
      const pool = () =>
        upload(r, normal(pages * pageSize * width, random(1)), [pages * pageSize, width]);
      // Pages of a sequence lie apart.
      const table = Uint32Array.from(
        { length: pages },
        (_, i) => (i % (length / pageSize)) * rows + Math.floor((i * pageSize) / length),
      );
      const state = Uint32Array.from({ length: 2 * rows }, (_, i) =>
        i % 2 === 0 ? i / 2 : length,
      );
      const a = {
        q: { tensor: upload(r, normal(rows * width, random(2))), offset: 0, stride: width },
        keys: {
          kPool: pool(),
          vPool: pool(),
          pageTable: upload(r, table, [rows, length / pageSize], 'u32'),
          pageSize,
          rows: upload(r, state, [rows, 2], 'u32'),
          rowStride: 2,
          rowOffset: 0,
        },
        nHeads: heads,
        nKvHeads: heads,
        headDim,
        scale: 1 / Math.sqrt(headDim),
        out: r.alloc([rows, width]),
        tQ: rows,
      };
      return () => {
        pagedAttention(r, a);
      };
    },
  },
];
