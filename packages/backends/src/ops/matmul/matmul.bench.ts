/** Timings of the three layouts at the sizes of tiny models, of the naive kernel beside them, and of one large product. */
import type { MatmulArgs } from '@realhf/api';

import type { Bench } from '../../testing/bench.js';
import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { matmul } from './matmul.js';
import { naiveMatmul } from './naive.js';

const layouts = [
  ['forward', false, true],
  ['dgrad', false, false],
  ['wgrad', true, false],
] as const;

function operands(r: Recorder, l: (typeof layouts)[number], size: readonly number[]): MatmulArgs {
  const [m = 0, n = 0, k = 0] = size;
  const [kind, transA, transB] = l;
  const filled = (shape: readonly [number, number]) => {
    const t = r.alloc(shape);
    r.write(t, normal(t.size, random(1)));
    return t;
  };
  return {
    a: filled(transA ? [k, m] : [m, k]),
    b: filled(transB ? [n, k] : [k, n]),
    out: filled([m, n]),
    transA,
    transB,
    accumulate: kind === 'wgrad',
  };
}

function bench(
  l: (typeof layouts)[number],
  size: readonly [number, number, number],
  run: (r: Recorder, args: MatmulArgs) => void,
): Bench {
  const [m, n, k] = size;
  return {
    name: `${run === matmul ? 'matmul' : 'matmul naive'} ${l[0]} ${m}×${n}×${k}`,
    flops: 2 * m * n * k,
    bytes: 4 * (m * n + m * k + n * k),
    setup(r) {
      const args = operands(r, l, size);
      return () => {
        run(r, args);
      };
    },
  };
}

const sizes: Readonly<Record<'forward' | 'dgrad' | 'wgrad', readonly [number, number, number][]>> =
  {
    forward: [
      [1024, 192, 64],
      [64, 192, 64],
      [256, 2048, 64],
    ],
    dgrad: [
      [1024, 64, 192],
      [256, 64, 2048],
    ],
    wgrad: [
      [192, 64, 1024],
      [2048, 64, 256],
    ],
  };

export const benches: readonly Bench[] = layouts.flatMap((l) => [
  ...sizes[l[0]].flatMap((s) => [bench(l, s, naiveMatmul), bench(l, s, matmul)]),
]);

/** For GPUs only: the software adapters take minutes. */
export const largeBenches: readonly Bench[] = layouts.flatMap((l) => [
  bench(l, [4096, 4096, 4096], matmul),
  bench(l, [64, 4096, 4096], matmul),
]);
