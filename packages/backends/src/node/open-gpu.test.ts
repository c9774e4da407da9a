import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';

import { DeviceError } from '@realhf/api';

import {
  openGpu,
  openNullGpu,
  testAdapters,
  type OpenedGpu,
  type OpenGpuOptions,
} from './open-gpu.js';

const adapters = await testAdapters();

afterEach(() => {
  vi.unstubAllEnvs();
});

/** Doubles 1000 numbers on the device: proof that it computes. */
async function doubles({ device }: OpenedGpu): Promise<boolean> {
  const n = 1000;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const data = device.createBuffer({ size: n * 4, usage });
  const back = device.createBuffer({
    size: n * 4,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  device.queue.writeBuffer(
    data,
    0,
    Float32Array.from({ length: n }, (_, i) => i),
  );
  const module = device.createShaderModule({
    code: '@group(0) @binding(0) var<storage, read_write> x: array<f32>;\n@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) { if (id.x < 1000u) { x[id.x] *= 2.0; } }',
  });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: data } }],
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(16);
  pass.end();
  encoder.copyBufferToBuffer(data, 0, back, 0, n * 4);
  device.queue.submit([encoder.finish()]);
  await back.mapAsync(GPUMapMode.READ);
  return new Float32Array(back.getMappedRange()).every((x, i) => x === 2 * i);
}

describe('software adapters', () => {
  test('at least one is here', () => {
    expect(adapters.length).toBeGreaterThan(0);
  });

  test.each(adapters)('%s opens, computes, and has the adapter’s own limits', async (adapter) => {
    const gpu = await openGpu({ adapter });
    expect(gpu.kind).toBe(adapter);
    expect(gpu.isCpu).toBe(true);
    expect(gpu.steps).toEqual([`${adapter}: ${gpu.adapterName}`]);
    expect(gpu.driver).toContain(adapter === 'swiftshader' ? 'SwiftShader' : 'llvmpipe');
    expect(gpu.features).toEqual(expect.arrayContaining(['subgroups', 'timestamp-query']));
    expect(gpu.limits.maxComputeWorkgroupStorageSize).toBeGreaterThanOrEqual(16384);
    expect(gpu.limits.maxBufferSize).toBeGreaterThan(268435456);
    await expect(doubles(gpu)).resolves.toBe(true);
    gpu.device.destroy();
  });

  test('several drivers live in one process, opened at once, and the environment is put back', async () => {
    const before = process.env.VK_DRIVER_FILES;
    const gpus = await Promise.all(adapters.map((adapter) => openGpu({ adapter })));
    expect(gpus.map((g) => g.kind)).toEqual(adapters);
    for (const gpu of gpus) await expect(doubles(gpu)).resolves.toBe(true);
    expect(process.env.VK_DRIVER_FILES).toBe(before);
    for (const gpu of gpus) gpu.device.destroy();
  });

  test.runIf(adapters.includes('swiftshader'))(
    'auto comes to SwiftShader where the system names no usable driver',
    async () => {
      vi.stubEnv('VK_DRIVER_FILES', '/nowhere/none.json');
      vi.stubEnv('VK_ICD_FILENAMES', '/nowhere/none.json');
      const gpu = await openGpu({ adapter: 'auto' });
      expect(gpu.steps[0]).toBe(
        'hardware: the Vulkan loader found no GPU driver that Dawn accepts',
      );
      expect(['system-software', 'swiftshader']).toContain(gpu.kind);
      gpu.device.destroy();
    },
  );

  test.runIf(adapters.includes('swiftshader'))(
    'f16 is refused where the adapter has none',
    async () => {
      await expect(openGpu({ adapter: 'swiftshader', f16: true })).rejects.toThrow(
        /has no shader-f16/,
      );
    },
  );

  test.runIf(adapters.includes('system-software'))(
    'f16 is on where it exists, and off when told',
    async () => {
      const on = await openGpu({ adapter: 'system-software', f16: true });
      expect(on.features).toContain('shader-f16');
      const off = await openGpu({ adapter: 'system-software', f16: false });
      expect(off.device.features.has('shader-f16')).toBe(false);
    },
  );

  test.each(adapters)(
    '%s: errors that no scope caught are told, a device destroyed on purpose is none',
    async (adapter) => {
      const errors: DeviceError[] = [];
      const { device } = await openGpu({ adapter, onError: (e) => errors.push(e) });
      device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
      await device.queue.onSubmittedWorkDone();
      expect(errors.map((e) => e.message).join()).toMatch(/reports an error/);
      device.destroy();
      await device.lost;
      expect(errors).toHaveLength(1);
    },
  );
});

test('the null adapter compiles and says where a shader is wrong', async () => {
  const { device, kind } = await openNullGpu();
  expect(kind).toBe('null');
  device.pushErrorScope('validation');
  const info = await device
    .createShaderModule({ code: 'fn f() {\n  let x = y;\n}' })
    .getCompilationInfo();
  expect(info.messages[0]).toMatchObject({ type: 'error', lineNum: 2 });
  await device.popErrorScope();
});

test('a full memory is told as such', async () => {
  const errors: DeviceError[] = [];
  const { device } = await openNullGpu({ onError: (e) => errors.push(e) });
  for (let i = 0; i < 4; i++) device.createBuffer({ size: 2 ** 28, usage: GPUBufferUsage.STORAGE });
  await device.queue.onSubmittedWorkDone();
  expect(errors[0]?.message).toMatch(/^null-backend is out of memory: /);
  device.destroy();
});

describe('choice and failure', () => {
  test('REALHF_ADAPTER chooses, and a wrong value is named', async () => {
    vi.stubEnv('REALHF_ADAPTER', 'null');
    expect((await openGpu()).kind).toBe('null');
    vi.stubEnv('REALHF_ADAPTER', 'cuda');
    await expect(openGpu()).rejects.toThrow("REALHF_ADAPTER is 'cuda'; use one of auto, hardware");
  });

  test('a forced adapter that is not there: every step and what to install', async () => {
    vi.stubEnv('VK_DRIVER_FILES', '/nowhere/none.json');
    vi.stubEnv('VK_ICD_FILENAMES', '/nowhere/none.json');
    const opened = openGpu({ adapter: 'hardware' });
    await expect(opened).rejects.toBeInstanceOf(DeviceError);
    await expect(opened).rejects.toThrow(
      /asked for hardware.*no GPU driver.*Install a GPU driver.*@sparticuz\/chromium@147/,
    );
  });
});

describe.runIf(process.platform === 'linux' && adapters.includes('swiftshader'))(
  'a system without libvulkan.so.1',
  () => {
    // An empty file of that name stops the dynamic linker's search, which reads LD_LIBRARY_PATH at the start only.
    const inChild = (options: OpenGpuOptions) => {
      const dir = mkdtempSync(join(tmpdir(), 'realhf-test-'));
      try {
        mkdirSync(join(dir, 'lib'));
        writeFileSync(join(dir, 'lib', 'libvulkan.so.1'), '');
        const script = `
        const { createViteServer } = await import('vitest/node');
        const server = await createViteServer({ configFile: false, logLevel: 'silent', server: { middlewareMode: true, ws: false, watch: null }, optimizeDeps: { noDiscovery: true }, resolve: { conditions: ['@realhf/source'] }, ssr: { resolve: { conditions: ['@realhf/source'] } } });
        const { openGpu } = await server.ssrLoadModule(${JSON.stringify(join(import.meta.dirname, 'open-gpu.ts'))});
        const out = await openGpu(${JSON.stringify(options)}).then(({ kind, steps }) => ({ kind, steps }), (e) => ({ error: e.message }));
        console.log('RESULT' + JSON.stringify(out));
        await server.close();
        process.exit(0);`;
        const env = {
          ...process.env,
          LD_LIBRARY_PATH: join(dir, 'lib'),
          XDG_CACHE_HOME: join(dir, 'cache'),
          NODE_OPTIONS: '',
        };
        const run = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
          env,
          encoding: 'utf8',
          cwd: join(import.meta.dirname, '../../../..'),
        });
        const result = run.stdout.split('RESULT')[1];
        if (!result) throw new Error(run.stderr);
        return JSON.parse(result) as { kind?: string; steps?: string[]; error?: string };
      } finally {
        rmSync(dir, { recursive: true, force: true });
      }
    };

    test('SwiftShader brings its own loader, into an empty cache', () => {
      const { kind, steps } = inChild({ adapter: 'auto' });
      expect(kind).toBe('swiftshader');
      expect(steps?.[0]).toMatch(/^hardware: no Vulkan loader on this system/);
      expect(steps?.[1]).toMatch(/^system-software: no Vulkan loader/);
      expect(steps?.[2]).toMatch(/^swiftshader: /);
    });

    test('the system’s own software is said to lack the loader', () => {
      expect(inChild({ adapter: 'system-software' }).error).toMatch(
        /no Vulkan loader on this system.*libvulkan1/,
      );
    });
  },
);
