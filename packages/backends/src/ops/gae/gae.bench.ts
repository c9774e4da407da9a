/** GAE over a batch of rollouts. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { gae } from './gae.js';

const [sequences, length] = [512, 256];

export const benches: Bench[] = [
  {
    name: `gae ${sequences}×${length}`,
    bytes: 16 * sequences * length,
    setup: (r) => {
      const vector = () => upload(r, new Float32Array(sequences * length).fill(0.5));
      const cuSeqlens = upload(
        r,
        new Uint32Array(sequences + 1).map((_, i) => i * length),
        [sequences + 1],
        'u32',
      );
      const a = {
        rewards: upload(r, new Float32Array(sequences * (length - 1)).fill(0.1)),
        values: vector(),
        cuSeqlens,
        bootstrap: upload(r, new Uint32Array(sequences), [sequences], 'u32'),
        gamma: 1,
        lambda: 0.95,
        advantages: vector(),
        returns: vector(),
      };
      return () => {
        gae(r, a);
      };
    },
  },
];
