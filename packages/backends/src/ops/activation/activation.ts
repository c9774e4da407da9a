/** gelu, gelu_tanh, silu and relu, plain and gated (f(gate)·up), with their backward; in-place forms have their own entry points. */
import { DeviceError, type Activation, type Tensor } from '@realhf/api';

import { deviceTensor } from '../../webgpu/device-tensor.js';
import { defineKernel, grid1d, type Access } from '../../webgpu/kernel.js';
import type { Recorder } from '../../webgpu/recorder.js';
import convertSource from '../matmul/f16-convert.wgsl';
import { fewRows, panelsAlong } from '../matmul/f16-pack.js';
import panelsSource from './activation-panels.wgsl';
import vec4Source from './activation-vec4.wgsl';
import source from './activation.wgsl';

const wg = 64;
const kinds: Readonly<Record<Activation, number>> = { gelu: 0, gelu_tanh: 1, silu: 2, relu: 3 };
const constants = (kind: Activation) => ({ WG: wg, KIND: kinds[kind] });
const variants = (Object.keys(kinds) as Activation[]).map(constants);
const kernel = (entry: string, access: readonly Access[], more = '') =>
  defineKernel({
    name: `activation_${entry}`,
    source: source + more,
    entry,
    params: { count: 'u32', inner: 'u32' },
    access,
    variants,
  });
const forward = kernel('forward', ['read_write', 'read']);
const backward = kernel('backward', ['read_write', 'read', 'read']);
const backwardInPlace = kernel('backward_in_place', ['read_write', 'read']);
const gated = kernel('gated', ['read_write', 'read']);
const gatedBackward = kernel('gated_backward', ['read_write', 'read', 'read']);
const gatedBackwardInPlace = kernel('gated_backward_in_place', ['read_write', 'read']);
const forward4 = kernel('forward4', ['read_write', 'read'], vec4Source);
const backward4 = kernel('backward4', ['read_write', 'read', 'read'], vec4Source);
const backwardInPlace4 = kernel('backward_in_place4', ['read_write', 'read'], vec4Source);
const gated4 = kernel('gated4', ['read_write', 'read'], vec4Source);
const gatedBackward4 = kernel('gated_backward4', ['read_write', 'read', 'read'], vec4Source);
/** For GPUs with f16: see activation-panels.wgsl. Binding 2 is another's. */
const gatedPanels = defineKernel({
  name: 'activation_gated_panels',
  source: [source, convertSource, panelsSource].join('\n'),
  entry: 'gated_panels',
  params: { count: 'u32', inner: 'u32' },
  access: ['read_write', 'read', 'read', 'read_write'],
  variants,
  enables: ['f16'],
});

const grid = (count: number) => grid1d(Math.ceil(count / wg));
const inQuads = ({ size }: Tensor) =>
  size % 4 === 0 ? { by4: true, count: size / 4 } : { by4: false, count: size };
const shape = (t: Tensor) => `[${t.shape.join(', ')}]`;
const same = (a: Tensor, b: Tensor) => {
  const [p, q] = [deviceTensor(a), deviceTensor(b)];
  return p.buffer === q.buffer && p.byteOffset === q.byteOffset;
};

/** out = f(x), element by element. */
export function activation(r: Recorder, kind: Activation, x: Tensor, out: Tensor): void {
  if (x.size !== out.size) throw new DeviceError(`activation of ${shape(x)} into ${shape(out)}`);
  if (x.size === 0) return;
  const { by4, count } = inQuads(x);
  r.run(by4 ? forward4 : forward, constants(kind), [out, x], { count, inner: 0 }, grid(count));
}

/** dx = dOut · f'(x); dx may be dOut. */
export function activationBackward(
  r: Recorder,
  kind: Activation,
  x: Tensor,
  dOut: Tensor,
  dx: Tensor,
): void {
  if (x.size !== dOut.size || x.size !== dx.size)
    throw new DeviceError(
      `activationBackward of x ${shape(x)} and dOut ${shape(dOut)} into ${shape(dx)}`,
    );
  if (x.size === 0) return;
  const { by4, count } = inQuads(x);
  const inPlace = same(dOut, dx);
  const singly = inPlace ? backwardInPlace : backward;
  r.run(
    by4 ? (inPlace ? backwardInPlace4 : backward4) : singly,
    constants(kind),
    inPlace ? [dx, x] : [dx, x, dOut],
    { count, inner: 0 },
    grid(count),
  );
}

/** gateUp [rows, 2·inner] = gate ‖ up; out [rows, inner] = f(gate)·up. */
export function gatedActivation(r: Recorder, kind: Activation, gateUp: Tensor, out: Tensor): void {
  const p = gatedParams(gateUp, out);
  if (fewRows(r, p.count / p.inner, p.inner) && p.count > 0) {
    panelsAlong(r, out, (panels) => {
      r.run(gatedPanels, constants(kind), [out, gateUp, gateUp, panels], p, grid(p.count));
    });
    return;
  }
  if (p.count === 0) return;
  if (p.inner % 4 === 0) {
    const by4 = { count: p.count / 4, inner: p.inner / 4 };
    r.run(gated4, constants(kind), [out, gateUp], by4, grid(by4.count));
  } else r.run(gated, constants(kind), [out, gateUp], p, grid(p.count));
}

/** dGateUp [rows, 2·inner] from dOut [rows, inner]; it may be gateUp itself. */
export function gatedActivationBackward(
  r: Recorder,
  kind: Activation,
  gateUp: Tensor,
  dOut: Tensor,
  dGateUp: Tensor,
): void {
  const p = gatedParams(gateUp, dOut);
  if (dGateUp.size !== gateUp.size)
    throw new DeviceError(`gatedActivationBackward of ${shape(gateUp)} into ${shape(dGateUp)}`);
  if (p.count === 0) return;
  const inPlace = same(gateUp, dGateUp);
  if (!inPlace && p.inner % 4 === 0) {
    const by4 = { count: p.count / 4, inner: p.inner / 4 };
    r.run(gatedBackward4, constants(kind), [dGateUp, gateUp, dOut], by4, grid(by4.count));
    return;
  }
  r.run(
    inPlace ? gatedBackwardInPlace : gatedBackward,
    constants(kind),
    inPlace ? [dGateUp, dOut] : [dGateUp, gateUp, dOut],
    p,
    grid(p.count),
  );
}

function gatedParams(gateUp: Tensor, out: Tensor): { count: number; inner: number } {
  const inner = out.shape.at(-1) ?? 0;
  if (gateUp.shape.at(-1) !== 2 * inner || gateUp.size !== 2 * out.size)
    throw new DeviceError(
      `gated activation of ${shape(gateUp)} with ${shape(out)}: need [rows, 2·inner] and [rows, inner]`,
    );
  return { count: out.size, inner };
}
