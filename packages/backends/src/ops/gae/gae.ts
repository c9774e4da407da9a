/**
 * Generalised advantage estimation over packed sequences (Schulman et al., arXiv 1506.02438). A sequence of L values
 * has L − 1 rewards; the last value counts only where the sequence was cut off (bootstrap).
 */
import { DeviceError, type Ops } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './gae.wgsl';

const kernel = defineKernel({
  name: 'gae',
  source,
  entry: 'main',
  params: { count: 'u32', gamma: 'f32', lambda: 'f32' },
  access: ['read', 'read', 'read', 'read', 'read_write', 'read_write'],
  variants: [{ WG: 8 }],
});

/** advantages and returns [Σ(L−1)] of rewards [Σ(L−1)], values [ΣL], cuSeqlens [N+1], bootstrap [N]. */
export function gae(r: Recorder, a: Parameters<Ops['gae']>[0]): void {
  const count = a.cuSeqlens.size - 1;
  if (
    a.bootstrap.size < count ||
    a.advantages.size < a.rewards.size ||
    a.returns.size < a.rewards.size ||
    a.values.size < a.rewards.size + count
  )
    throw new DeviceError(
      `gae of ${count} sequences: ${a.values.size} values, ${a.rewards.size} rewards, ${a.bootstrap.size} bootstrap flags, ${a.advantages.size} advantages and ${a.returns.size} returns don't fit`,
    );
  if (count <= 0 || a.rewards.size === 0) return;
  const wg = { WG: r.isCpu ? 8 : 64 };
  r.run(
    kernel,
    wg,
    [a.rewards, a.values, a.cuSeqlens, a.bootstrap, a.advantages, a.returns],
    { count, gamma: a.gamma, lambda: a.lambda },
    grid1d(Math.ceil(count / wg.WG)),
  );
}
