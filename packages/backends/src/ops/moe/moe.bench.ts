/** A mixture of 8 experts, 2 a token: router, sort, the products of all experts, the sum over copies. */
import type { GroupedMatmulArgs } from '@realhf/api';

import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { moeCombine, moeCombineBackward } from './combine.js';
import { groupedMatmul } from './grouped.js';
import { moeRoute, moeSinkhorn } from './route.js';
import { moeSort } from './sort.js';

const [tokens, experts, topK, hidden, inner] = [1024, 8, 2, 256, 512];
const copies = tokens * topK;

/** Router outputs and the sorted order of random logits. */
function sorted(r: Recorder) {
  const logits = upload(r, normal(tokens * experts, random(1)), [tokens, experts]);
  const chosen = r.alloc([tokens, topK], 'u32');
  const probs = r.alloc([tokens, topK]);
  const out = {
    rowOf: r.alloc([tokens, topK], 'u32'),
    tokenOf: r.alloc([copies], 'u32'),
    offsets: r.alloc([experts + 1], 'u32'),
    counts: r.alloc([experts], 'u32'),
  };
  const route = () => {
    moeRoute(r, { logits, topK, scores: 'selected', experts: chosen, probs });
  };
  const sort = () => {
    moeSort(r, { experts: chosen, nExperts: experts, ...out });
  };
  route();
  sort();
  return { logits, probs, route, sort, ...out };
}

function product(kind: GroupedMatmulArgs['kind']): Bench {
  const [m, n, k] = kind === 'input' ? [copies, hidden, inner] : [copies, inner, hidden];
  return {
    name: `grouped ${kind} ${copies} rows over ${experts}, ${n}×${k}`,
    flops: 2 * m * n * k,
    setup: (r) => {
      const { offsets } = sorted(r);
      const filled = (rows: number, columns: number) =>
        upload(r, normal(rows * columns, random(2)), [rows, columns]);
      const [a, b, out] =
        kind === 'forward'
          ? [filled(copies, k), filled(experts * n, k), filled(copies, n)]
          : kind === 'input'
            ? [filled(copies, k), filled(experts * k, n), filled(copies, n)]
            : [filled(copies, n), filled(copies, k), filled(experts * n, k)];
      return () => {
        groupedMatmul(r, { kind, a, b, out, offsets });
      };
    },
  };
}

export const benches: Bench[] = [
  { name: `moe route ${tokens}×${experts}`, setup: (r) => sorted(r).route },
  { name: `moe sort ${copies} copies`, setup: (r) => sorted(r).sort },
  {
    name: `moe sinkhorn ${tokens}×${experts}`,
    setup: (r) => {
      const { logits } = sorted(r);
      const bias = r.alloc([experts]);
      return () => {
        moeSinkhorn(r, logits, bias);
      };
    },
  },
  product('forward'),
  product('input'),
  product('weight'),
  {
    name: `moe combine and backward ${copies}×${hidden}`,
    bytes: 4 * hidden * (5 * copies + tokens),
    setup: (r) => {
      const { rowOf, probs } = sorted(r);
      const [rows, dRows] = [r.alloc([copies, hidden]), r.alloc([copies, hidden])];
      const [out, dWeights] = [r.alloc([tokens, hidden]), r.alloc([tokens, topK])];
      return () => {
        moeCombine(r, { rows, rowOf, weights: probs, out });
        moeCombineBackward(r, { rows, rowOf, weights: probs, dOut: out, dRows, dWeights });
      };
    },
  },
];
