import { openNullGpu, testAdapters } from '@realhf/backends/node';
import { afterEach, describe, expect, test, vi } from 'vitest';

import { advice } from './advice.js';
import { doctor, examine, type DoctorReport } from './doctor.js';
import { doctorKernels, filledValue, shaderText } from './kernels.js';

const adapters = await testAdapters();

afterEach(() => {
  vi.unstubAllEnvs();
});

test.each(adapters)('%s is measured and computes right', async (adapter) => {
  const report = await examine(adapter);
  expect(report.problems).toEqual([]);
  expect(report).toMatchObject({ ok: true, kind: adapter, node: process.version });
  expect(report.matmulF32?.gflops).toBeGreaterThan(0.05);
  expect(report.matmulF32?.relativeError).toBeLessThan(1e-5);
  expect(report.copy?.gbPerSecond).toBeGreaterThan(0.05);
  expect(report.advice[0]).toMatch(/^a GPU: /);
});

test.each(doctorKernels)('$name compiles on the null backend', async (kernel) => {
  const { device } = await openNullGpu();
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: shaderText(kernel, kernel.constants) });
  const { messages } = await module.getCompilationInfo();
  expect(messages.map((m) => `${m.lineNum}:${m.linePos} ${m.message}`)).toEqual([]);
  expect(await device.popErrorScope()).toBeNull();
});

test('operands are spread over [-0.5, 0.5) in steps that f16 holds', () => {
  const values = Array.from({ length: 4096 }, (_, i) => filledValue(i, 1));
  expect(values.every((x) => x >= -0.5 && x < 0.5 && Number.isInteger(x * 2048))).toBe(true);
  expect(Math.abs(values.reduce((a, b) => a + b) / 4096)).toBeLessThan(0.02);
  expect(new Set(values).size).toBeGreaterThan(1000);
});

describe('what is printed', () => {
  test('one JSON object', async () => {
    const out: string[] = [];
    await doctor({ json: true, write: (text) => out.push(text), adapter: 'null' });
    const report = JSON.parse(out.join('')) as DoctorReport;
    expect(report).toMatchObject({
      ok: true,
      kind: 'null',
      steps: ['null: null-backend'],
      problems: [],
    });
    expect(report.matmulF32).toBeUndefined();
  });

  test('text, also when nothing is found, and then it throws', async () => {
    vi.stubEnv('VK_DRIVER_FILES', '/nowhere/none.json');
    vi.stubEnv('VK_ICD_FILENAMES', '/nowhere/none.json');
    const out: string[] = [];
    await expect(
      doctor({ json: false, write: (text) => out.push(text), adapter: 'hardware' }),
    ).rejects.toThrow(/no WebGPU adapter/);
    expect(out.join('')).toMatch(
      /^adapter {7}none\ntried {9}hardware: the Vulkan loader found no GPU driver/,
    );
    expect(out.join('')).toContain('npm install @sparticuz/chromium@147.0.0');
  });
});

test('a GPU with f16 needs nothing more', () => {
  expect(advice({ kind: 'hardware', features: ['shader-f16'] })).toEqual([]);
  expect(advice({ kind: 'hardware', features: [] })).toHaveLength(1);
  expect(advice(undefined)).toHaveLength(3);
});
