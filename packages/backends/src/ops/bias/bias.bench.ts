/** Timing of the bias gradient. */
import type { Bench } from '../../testing/bench.js';
import { biasBackward } from './bias.js';

export const benches: readonly Bench[] = [
  {
    name: 'biasBackward 1024×192',
    bytes: 4 * 1024 * 192,
    setup(r) {
      const [dOut, dBias] = [r.alloc([1024, 192]), r.alloc([192])];
      return () => {
        biasBackward(r, dOut, dBias);
      };
    },
  },
];
