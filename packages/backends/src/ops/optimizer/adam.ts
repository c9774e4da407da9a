/** AdamW (Loshchilov & Hutter, arXiv 1711.05101) on f32 masters, bias corrected; the clip factor is read on the device. */
import { DeviceError, type AdamArgs } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './adam.wgsl';

const wg = { WG: 256 };
const quads = defineKernel({
  name: 'adam',
  source,
  entry: 'quads',
  params: {
    begin: 'u32',
    end: 'u32',
    lr: 'f32',
    beta1: 'f32',
    beta2: 'f32',
    eps: 'f32',
    weight_decay: 'f32',
    correction1: 'f32',
    correction2: 'f32',
  },
  access: ['read_write', 'read', 'read_write', 'read_write', 'read'],
  variants: [wg],
});
const singles = defineKernel({ ...quads, name: 'adam_singles', entry: 'singles' });

/** Updates param, m and v in [begin, end). Throws DeviceError when the range exceeds one of the tensors. */
export function adam(r: Recorder, a: AdamArgs): void {
  for (const t of [a.param, a.grad, a.m, a.v])
    if (a.end > t.size || a.begin > a.end)
      throw new DeviceError(`adam on [${a.begin}, ${a.end}) of [${t.shape.join(', ')}]`);
  const tensors = [a.param, a.grad, a.m, a.v, a.gradScale];
  const values = {
    lr: a.lr,
    beta1: a.beta1,
    beta2: a.beta2,
    eps: a.eps,
    weight_decay: a.weightDecay,
    correction1: 1 / (1 - a.beta1 ** a.step),
    correction2: 1 / (1 - a.beta2 ** a.step),
  };
  const run = (kernel: typeof quads, begin: number, end: number) => {
    if (begin < end)
      r.run(
        kernel,
        wg,
        tensors,
        { ...values, begin, end },
        grid1d(Math.ceil((end - begin) / wg.WG)),
      );
  };
  const first = Math.min(a.end, Math.ceil(a.begin / 4) * 4);
  const last = Math.max(first, Math.floor(a.end / 4) * 4);
  run(singles, a.begin, first);
  run(quads, first / 4, last / 4);
  run(singles, last, a.end);
}
