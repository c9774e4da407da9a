/** Timing of norm forward and backward. */
import type { Bench } from '../../testing/bench.js';
import { norm, normBackward } from './norm.js';

const [rows, dim] = [1024, 64];

export const benches: readonly Bench[] = (['layer', 'rms'] as const).flatMap((kind): Bench[] => [
  {
    name: `norm ${kind} ${rows}×${dim}`,
    bytes: 8 * rows * dim,
    setup(r) {
      const [x, out] = [r.alloc([rows, dim]), r.alloc([rows, dim])];
      const args = { x, out, weight: r.alloc([dim]), stats: r.alloc([rows, 2]), kind, eps: 1e-5 };
      return () => {
        norm(r, args);
      };
    },
  },
  {
    name: `normBackward ${kind} ${rows}×${dim}`,
    bytes: 12 * rows * dim,
    setup(r) {
      const [x, dOut, dx] = [r.alloc([rows, dim]), r.alloc([rows, dim]), r.alloc([rows, dim])];
      const [weight, dWeight, stats] = [r.alloc([dim]), r.alloc([dim]), r.alloc([rows, 2])];
      return () => {
        normBackward(r, { x, dOut, dx, weight, dWeight, stats, kind, eps: 1e-5 });
      };
    },
  },
]);
