/** Timing of the activations, plain and gated. */
import type { Activation } from '@realhf/api';

import type { Bench } from '../../testing/bench.js';
import { activation, activationBackward, gatedActivation } from './activation.js';

const [rows, inner] = [1024, 192];
const kinds: readonly Activation[] = ['gelu', 'gelu_tanh', 'silu'];

export const benches: readonly Bench[] = kinds.flatMap((kind): Bench[] => [
  {
    name: `activation ${kind} ${rows}×${inner}`,
    bytes: 8 * rows * inner,
    setup(r) {
      const [x, out] = [r.alloc([rows, inner]), r.alloc([rows, inner])];
      return () => {
        activation(r, kind, x, out);
      };
    },
  },
  {
    name: `activationBackward ${kind} ${rows}×${inner}`,
    bytes: 12 * rows * inner,
    setup(r) {
      const [x, d] = [r.alloc([rows, inner]), r.alloc([rows, inner])];
      return () => {
        activationBackward(r, kind, x, d, d);
      };
    },
  },
  {
    name: `gatedActivation ${kind} ${rows}×${inner}`,
    bytes: 12 * rows * inner,
    setup(r) {
      const [x, out] = [r.alloc([rows, 2 * inner]), r.alloc([rows, inner])];
      return () => {
        gatedActivation(r, kind, x, out);
      };
    },
  },
]);
