/**
 * Devices for tests: SwiftShader (from npm, everywhere) and lavapipe (where Mesa is installed), one Recorder each,
 * opened once per test file. `REALHF_TEST_ADAPTERS=swiftshader` narrows the list.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';

import { afterAll, beforeAll, describe } from 'vitest';

import { Recorder } from '../webgpu/recorder.js';

const lavapipe = '/usr/share/vulkan/icd.d';
const adapters = (process.env.REALHF_TEST_ADAPTERS ?? 'swiftshader,lavapipe').split(',');

function swiftShaderIcd(): string {
  const dir = '/tmp/realhf-swiftshader';
  const icd = join(dir, 'vk_swiftshader_icd.json');
  if (!existsSync(icd)) {
    let at = dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium'));
    while (!existsSync(join(at, 'bin'))) at = dirname(at);
    mkdirSync(dir, { recursive: true });
    const tar = join(dir, `${process.pid}.tar`);
    writeFileSync(tar, brotliDecompressSync(readFileSync(join(at, 'bin/swiftshader.tar.br'))));
    execFileSync('tar', ['xf', tar, '-C', dir]);
  }
  return icd;
}

export async function openTestRecorder(name: string): Promise<Recorder | undefined> {
  const lvp = existsSync(lavapipe)
    ? readdirSync(lavapipe).find((f) => f.startsWith('lvp'))
    : undefined;
  if (name === 'lavapipe' && lvp === undefined) return undefined;
  process.env.XDG_RUNTIME_DIR ??= '/tmp';
  process.env.VK_DRIVER_FILES = name === 'lavapipe' ? join(lavapipe, lvp!) : swiftShaderIcd();
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  const gpu = create(['enable-dawn-features=allow_unsafe_apis', 'backend=vulkan']);
  ((globalThis as { realhfKeep?: unknown[] }).realhfKeep ??= []).push(gpu);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error(`no adapter for ${name}`);
  const l = adapter.limits;
  const device = await adapter.requestDevice({
    requiredLimits: {
      maxBufferSize: l.maxBufferSize,
      maxStorageBufferBindingSize: l.maxStorageBufferBindingSize,
      maxStorageBuffersPerShaderStage: l.maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupStorageSize: l.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: l.maxComputeInvocationsPerWorkgroup,
      maxComputeWorkgroupSizeX: l.maxComputeWorkgroupSizeX,
    },
  });
  return new Recorder({ device, adapter: adapter.info.description, isCpu: true });
}

/** Runs `suite` once per adapter that is here; `r()` is valid inside tests. */
export function onAdapters(suite: (r: () => Recorder, name: string) => void): void {
  for (const name of adapters) {
    if (name === 'lavapipe' && !existsSync(join(lavapipe, 'lvp_icd.json'))) continue;
    describe(name, () => {
      let recorder: Recorder | undefined;
      beforeAll(async () => {
        recorder = await openTestRecorder(name);
      });
      afterAll(() => {
        recorder?.destroy();
      });
      suite(() => recorder!, name);
    });
  }
}
