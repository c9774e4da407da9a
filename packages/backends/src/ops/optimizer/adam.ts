/** AdamW (Loshchilov & Hutter, arXiv 1711.05101) on f32 masters, bias corrected; the clip factor is read on the device. */
import { DeviceError, type AdamArgs } from '@realhf/api';

import { defineKernel, grid1d } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import source from './adam.wgsl';

const wg = { WG: 256 };
const kernel = defineKernel({
  name: 'adam',
  source,
  entry: 'main',
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

/** Updates param, m and v in [begin, end). Throws DeviceError when the range exceeds one of the tensors. */
export function adam(r: Recorder, a: AdamArgs): void {
  for (const t of [a.param, a.grad, a.m, a.v])
    if (a.end > t.size || a.begin > a.end)
      throw new DeviceError(`adam on [${a.begin}, ${a.end}) of [${t.shape.join(', ')}]`);
  if (a.begin === a.end) return;
  r.run(
    kernel,
    wg,
    [a.param, a.grad, a.m, a.v, a.gradScale],
    {
      begin: a.begin,
      end: a.end,
      lr: a.lr,
      beta1: a.beta1,
      beta2: a.beta2,
      eps: a.eps,
      weight_decay: a.weightDecay,
      correction1: 1 / (1 - a.beta1 ** a.step),
      correction2: 1 / (1 - a.beta2 ** a.step),
    },
    grid1d(Math.ceil((a.end - a.begin) / wg.WG)),
  );
}
