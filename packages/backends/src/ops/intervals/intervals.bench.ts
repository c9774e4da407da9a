/** Reallocation copies: a matrix cut by columns (strided), one long run, unaligned runs, packing to halves. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { copyBlocks } from './copy-blocks.js';
import { packHalves, unpackHalves } from './halves.js';

const size = 1 << 24;

const copies = [
  { name: 'one run', rows: 1, run: size, stride: size, aligned: true },
  { name: '16,384 rows of 1,024 of 2,048', rows: 16384, run: 1024, stride: 2048, aligned: true },
  { name: '16,384 rows of 1,023', rows: 16384, run: 1023, stride: 2047, aligned: false },
].flatMap(({ name, rows, run, stride, aligned }) =>
  [1, 0.5].map((eta): Bench => ({
    name: `${eta === 1 ? 'copy' : 'blend'} ${name}`,
    bytes: (eta === 1 ? 8 : 12) * rows * run,
    setup: (r) => {
      const list = Uint32Array.of(0, 0, 0, run, stride, run);
      const blocks = upload(r, list, [1, 6], 'u32');
      const [src, dst] = [r.alloc([(rows - 1) * stride + run]), r.alloc([rows * run])];
      return () => {
        copyBlocks(r, { src, blocks, total: rows * run, dst, aligned, eta });
      };
    },
  })),
);

const halves = (['pack', 'unpack'] as const).map((name): Bench => ({
  name: `${name} halves`,
  bytes: 6 * size,
  setup: (r) => {
    const [floats, words] = [r.alloc([size]), r.alloc([size / 2], 'u32')];
    return () => {
      if (name === 'pack') packHalves(r, floats, words);
      else unpackHalves(r, words, floats);
    };
  },
}));

export const benches: Bench[] = [...copies, ...halves];
