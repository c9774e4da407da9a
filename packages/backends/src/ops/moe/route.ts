/** Router of a mixture of experts: choice, weights and statistics from logits, their backward, and Sinkhorn's choice bias. */
import { DeviceError, type MoeOps, type MoeScores, type Tensor } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import routeSource from './route.wgsl';
import sinkhornSource from './sinkhorn.wgsl';

const wg = 64;
const scoreKinds: Readonly<Record<MoeScores, number>> = { selected: 0, sigmoid: 1, all: 2 };
const constants = (scores: MoeScores) => ({ WG: wg, SCORES: scoreKinds[scores] });
const variants = (['selected', 'sigmoid', 'all'] as const).map(constants);
const sizes = { rows: 'u32', n: 'u32', top_k: 'u32' } as const;
const routeKernel = defineKernel({
  name: 'moe_route',
  source: routeSource,
  entry: 'route',
  params: { ...sizes, has_bias: 'u32', has_statistics: 'u32', aux_scale: 'f32', z_scale: 'f32' },
  access: ['read', 'read', 'read_write', 'read_write', 'read_write'],
  variants,
});
const backwardKernel = defineKernel({
  ...routeKernel,
  name: 'moe_route_backward',
  entry: 'route_backward',
  access: ['read', 'read', 'read', 'read', 'read_write'],
});
const lanes = (r: Recorder) => ({ WG: r.isCpu ? 8 : 256 });
const sinkhornKernel = defineKernel({
  name: 'moe_sinkhorn',
  source: sinkhornSource,
  entry: 'main',
  params: { rows: 'u32', n: 'u32', rounds: 'u32' },
  access: ['read', 'read_write', 'read_write'],
  variants: [{ WG: 8 }, { WG: 256 }],
});
/** Rounds at most: enough for any router, and an end where logits are not finite. */
const sinkhornRounds = 500;

const shape = (t: Tensor) => `[${t.shape.join(', ')}]`;

function check(logits: Tensor, topK: number, perToken: readonly Tensor[]) {
  const [rows = 0, n = 0] = logits.shape;
  if (
    logits.shape.length !== 2 ||
    topK < 1 ||
    topK > n ||
    perToken.some((t) => t.size !== rows * topK)
  )
    throw new DeviceError(
      `moeRoute of logits ${shape(logits)} and topK ${topK} with ${perToken.map(shape).join(', ')}: need [t, E] and [t, topK], topK ≤ E`,
    );
  return { rows, n, top_k: topK };
}

export function moeRoute(r: Recorder, a: Parameters<MoeOps['moeRoute']>[0]): void {
  const size = check(a.logits, a.topK, [a.experts, a.probs]);
  if (size.rows === 0) return;
  // Written by nothing where it is not asked for.
  const statistics = a.statistics ?? r.alloc([1]);
  r.run(
    routeKernel,
    constants(a.scores),
    [a.logits, a.choiceBias ?? a.logits, a.experts, a.probs, statistics],
    {
      ...size,
      has_bias: a.choiceBias ? 1 : 0,
      has_statistics: a.statistics ? 1 : 0,
      aux_scale: 0,
      z_scale: 0,
    },
    grid1d(Math.ceil(size.rows / wg)),
  );
  if (!a.statistics) r.free(statistics);
}

export function moeRouteBackward(r: Recorder, a: Parameters<MoeOps['moeRouteBackward']>[0]): void {
  const size = check(a.logits, a.topK, [a.experts, a.dProbs]);
  if (size.rows === 0) return;
  r.run(
    backwardKernel,
    constants(a.scores),
    [a.logits, a.dProbs, a.experts, a.counts, a.dLogits],
    { ...size, has_bias: 0, has_statistics: 0, aux_scale: a.auxScale, z_scale: a.zScale },
    grid1d(Math.ceil(size.rows / wg)),
  );
}

/** choiceBias [E] of logits [t, E]. */
export function moeSinkhorn(r: Recorder, logits: Tensor, choiceBias: Tensor): void {
  const [rows = 0, n = 0] = logits.shape;
  if (choiceBias.size !== n)
    throw new DeviceError(`moeSinkhorn of ${shape(logits)} into ${shape(choiceBias)}: need [E]`);
  const cost = r.alloc([rows * (n + 1)]);
  r.run(
    sinkhornKernel,
    lanes(r),
    [logits, choiceBias, cost],
    { rows, n, rounds: sinkhornRounds },
    [1, 1, 1],
  );
  r.free(cost);
}
