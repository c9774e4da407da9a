/** Timing of embedding lookup and gradient, 1024 tokens of a vocabulary of 512. */
import type { Bench } from '../../testing/bench.js';
import { embedding, embeddingBackward } from './embedding.js';

const [n, vocab, dim] = [1024, 512, 64];
const ids = Int32Array.from({ length: n }, (_, i) => (i * i) % vocab);

export const benches: readonly Bench[] = [
  {
    name: `embedding ${n}×${dim}`,
    bytes: 8 * n * dim,
    setup(r) {
      const [table, out, device] = [r.alloc([vocab, dim]), r.alloc([n, dim]), r.alloc([n], 'i32')];
      r.write(device, ids);
      return () => {
        embedding(r, table, device, out);
      };
    },
  },
  {
    name: `embeddingBackward ${n}×${dim}`,
    bytes: 4 * n * dim,
    setup(r) {
      const [dOut, dTable] = [r.alloc([n, dim]), r.alloc([vocab, dim])];
      return () => {
        embeddingBackward(r, dOut, ids, dTable);
      };
    },
  },
];
