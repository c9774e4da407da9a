/** One decode step's sampling, for each kind of warper. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import { sample } from './sample.js';

const kinds = [
  { kind: 'greedy', greedy: true, topK: 1, topP: 1 },
  { kind: 'plain', greedy: false, topK: 1 << 30, topP: 1 },
  { kind: 'top-k', greedy: false, topK: 200, topP: 1 },
  { kind: 'top-k and top-p', greedy: false, topK: 200, topP: 0.9 },
];

export const benches: Bench[] = [
  [64, 2048],
  [64, 32000],
].flatMap(([rows, vocab]) =>
  kinds.map(({ kind, ...warpers }): Bench => ({
    name: `sample ${kind} ${rows!}×${vocab!}`,
    bytes: 4 * rows! * vocab!,
    setup: (r) => {
      const a = {
        logits: upload(r, normal(rows! * vocab!, random(1), 2), [rows!, vocab!]),
        ...warpers,
        temperature: 1,
        eosTokenId: -1,
        padTokenId: 0,
        minNewTokens: 0,
        seeds: upload(
          r,
          new Uint32Array(rows!).map((_, i) => i),
          [rows!],
          'u32',
        ),
        state: upload(r, new Uint32Array(5 * rows!), [rows!, 5], 'u32'),
        tokens: r.alloc([rows!], 'i32'),
        tokenLog: r.alloc([1, rows!], 'i32'),
        logProbLog: r.alloc([1, rows!]),
        logStep: 0,
      };
      return () => {
        sample(r, a);
      };
    },
  })),
);
