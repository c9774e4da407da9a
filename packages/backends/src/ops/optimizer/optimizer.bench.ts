/** AdamW and the gradient norm over a million parameters. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { adam } from './adam.js';
import { sumSquares } from './sum-squares.js';

const size = 1 << 20;

export const benches: Bench[] = [
  {
    name: `adam ${size}`,
    bytes: 28 * size,
    setup: (r) => {
      const vector = () => upload(r, new Float32Array(size).fill(0.01));
      const a = {
        param: vector(),
        grad: vector(),
        m: vector(),
        v: vector(),
        begin: 0,
        end: size,
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-5,
        weightDecay: 0.05,
        step: 1,
        gradScale: upload(r, Float32Array.of(1)),
      };
      return () => {
        adam(r, a);
      };
    },
  },
  {
    name: `sum of squares ${size}`,
    bytes: 4 * size,
    setup: (r) => {
      const [x, out] = [upload(r, new Float32Array(size).fill(0.01)), r.alloc([1])];
      return () => {
        sumSquares(r, x, out, 0);
      };
    },
  },
];
