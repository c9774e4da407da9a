/** Reallocation copies: many short intervals (rows of a split matrix) and one long one. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { gatherIntervals, scatterIntervals } from './intervals.js';

const size = 1 << 20;

export const benches: Bench[] = [
  [4096, 128],
  [1, size],
].flatMap(([count, length]) =>
  [1, 0.5].map((eta): Bench => ({
    name: `${eta === 1 ? 'copy' : 'blend'} ${count!} intervals of ${length!}`,
    bytes: (eta === 1 ? 8 : 12) * count! * length!,
    setup: (r) => {
      const plan = new Uint32Array(3 * count!);
      for (let i = 0; i < count!; i++) plan.set([i * (size / count!), i * length!, length!], 3 * i);
      const intervals = upload(r, plan, [count!, 3], 'u32');
      const [src, dst] = [r.alloc([size]), r.alloc([size])];
      return () => {
        if (eta === 1) gatherIntervals(r, src, intervals, dst);
        else scatterIntervals(r, src, intervals, dst, eta);
      };
    },
  })),
);
