import { join } from 'node:path';

import { type Kernel } from '@realhf/backends';
import { openNullGpu } from '@realhf/backends/node';
import { expect, test } from 'vitest';

import { compileAll, kernelUnits } from './compile.js';
import { checkRepository } from './main.js';

test('every kernel of the repository compiles in every variant', async () => {
  const { problems, compiled, files } = await checkRepository(
    join(import.meta.dirname, '../../..'),
  );
  expect(problems).toEqual([]);
  expect(compiled).toBeGreaterThanOrEqual(files);
});

const good: Kernel = {
  name: 'good',
  source: [
    '@group(0) @binding(0) var<storage, read_write> x: array<f32>;',
    '@compute @workgroup_size(WG)',
    'fn main(@builtin(global_invocation_id) id: vec3u) { x[id.x] = params.scale; }',
  ].join('\n'),
  entry: 'main',
  params: { scale: 'f32' },
  access: ['read_write'],
  variants: [{ WG: 8 }, { WG: 64 }],
};

test('problems are named with file, line and variant', async () => {
  const { device } = await openNullGpu();
  const check = (kernel: Kernel) =>
    compileAll(device, kernelUnits(kernel), new Map([['k.wgsl', kernel.source]]));
  expect(await check(good)).toEqual([]);
  expect(await check({ ...good, source: good.source.replace('id.x', 'id.q') })).toEqual([
    expect.stringMatching(/^k\.wgsl:3:\d+: error: .*\[good WG=8\]$/),
    expect.stringMatching(/\[good WG=64\]$/),
  ]);
  expect((await check({ ...good, variants: [] }))[0]).toMatch(/unresolved value 'WG'/);
  expect((await check({ ...good, entry: 'other' }))[0]).toMatch(/^k\.wgsl: error: .*other/);
  expect((await check({ ...good, access: ['read'] }))[0]).toMatch(/^k\.wgsl: error: /);
  const access = Array.from({ length: 11 }, () => 'read_write' as const);
  expect((await check({ ...good, access }))[0]).toMatch(/11 storage buffers, browsers offer 10/);
  expect(await compileAll(device, [], new Map([['k.wgsl', '']]))).toEqual([
    'k.wgsl: no kernel uses this file; define one or remove it',
  ]);
});

test('a kernel of two files: the line is that of the right one', async () => {
  const { device } = await openNullGpu();
  const first = 'fn one() -> f32 {\n  return 1.0;\n}\n';
  const second = good.source.replace('params.scale', 'one() + two');
  const files = new Map([
    ['b.wgsl', second],
    ['a.wgsl', first],
  ]);
  const problems = await compileAll(
    device,
    kernelUnits({ ...good, source: first + second }),
    files,
  );
  expect(problems[0]).toMatch(/^b\.wgsl:3:\d+: error: unresolved value 'two'/);
  expect(problems).toHaveLength(2);
});

test('a kernel for more than the lowest limits is no problem', async () => {
  const { device } = await openNullGpu();
  const large = { ...good, variants: [{ WG: 1024 }] };
  expect(await compileAll(device, kernelUnits(large), new Map())).toEqual([]);
});
