/**
 * The Vulkan layer on lavapipe and SwiftShader, which together are two devices: what is shared and found, what goes
 * away, which device is seen, and that the carried library is the one that its source gives.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { bundle, canRun, lavapipe, runRanks } from './testing/doubles.js';

const layer = join(dirname(fileURLToPath(import.meta.url)), '../layer');
const validation = '/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json';

interface Report {
  readonly devices: { name: string; uuid: string; shown: boolean; isCpu: boolean }[];
  readonly adapter?: string;
  readonly found?: { offset: number; bytes: number; read: boolean; other: boolean }[];
  readonly unlabelled?: string;
  readonly live?: number[];
  readonly error?: string;
}

describe.runIf(canRun())('the layer', () => {
  const folder = mkdtempSync(join(tmpdir(), 'realhf-layer-'));
  let program: string;
  let both: string;
  beforeAll(async () => {
    program = await bundle('layer-main', folder);
    both = drivers(folder);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  const probe = async (env: Record<string, string>): Promise<Report & { text: string }> => {
    const [first] = await runRanks(program, 1, { XDG_RUNTIME_DIR: tmpdir(), ...env }, folder);
    const line = first!.out.split('\n').find((l) => l.startsWith('{'));
    if (line === undefined) throw new Error(first!.out);
    return { ...(JSON.parse(line) as Report), text: `${first!.out}${first!.errors}` };
  };

  test('finds buffers by label, suballocated ones too, and drops the freed', async () => {
    const env = existsSync(validation) ? { VK_INSTANCE_LAYERS: 'VK_LAYER_KHRONOS_validation' } : {};
    const r = await probe({ VK_DRIVER_FILES: lavapipe, VK_ICD_FILENAMES: lavapipe, ...env });
    expect(r.error).toBeUndefined();
    expect(r.found!.map((f) => f.bytes)).toEqual([256, 4096, 65536, 5 << 20]);
    expect(r.found!.every((f) => f.read && f.other)).toBe(true);
    expect(new Set(r.found!.slice(0, 3).map((f) => f.offset)).size).toBe(3);
    expect(r.unlabelled).toMatch(/does not know the buffer/);
    const [before, during, after] = r.live!;
    expect(during! - before!).toBe(64);
    // A buffer that was read back into may still be on its way.
    expect(after! - before!).toBeLessThan(4);
    // Validation speaks of buffers and memory where the layer makes a mistake.
    expect(r.text).not.toMatch(/VUID-Vk(Bind|Memory|Buffer|Export|Allocate|CreateBuffer)/);
  });
  test('without sharing it shares nothing, and the rest works as ever', async () => {
    const r = await probe({ VK_DRIVER_FILES: lavapipe, VK_ICD_FILENAMES: lavapipe, SHARE: '0' });
    expect(r.error).toMatch(/does not know the buffer/);
    expect(r.live).toEqual([0, 0, 0]);
  });
  test('shows one device: by index, by UUID, by PCI address, or none that there is not', async () => {
    const env = { VK_DRIVER_FILES: both, VK_ICD_FILENAMES: both, CHOOSE: '1' };
    const all = await probe(env);
    expect(all.devices.map((d) => d.shown)).toEqual([true, true]);
    expect(new Set(all.devices.map((d) => d.uuid)).size).toBe(2);
    for (const [i, d] of all.devices.entries()) {
      for (const GPU of [String(i), d.uuid, `GPU-${d.uuid.toUpperCase()}`]) {
        const one = await probe({ ...env, GPU });
        expect(one.devices.filter((x) => x.shown).map((x) => x.uuid)).toEqual([d.uuid]);
        expect(d.name).toContain(/llvmpipe|SwiftShader/.exec(one.adapter!)![0]);
      }
    }
    const none = await probe({ ...env, GPU: '0000:3b:00.0' });
    expect(none.error).toMatch(/no adapter/);
    expect(none.devices.map((d) => d.shown)).toEqual([false, false]);
  });
  test.runIf(existsSync('/usr/include/vulkan/vk_layer.h'))('is what its source gives', () => {
    const built = join(folder, 'built.so');
    execFileSync('sh', [join(layer, 'build.sh'), built]);
    const symbols = (path: string) =>
      execFileSync('nm', ['-D', '--defined-only', path], { encoding: 'utf8' }).replace(
        /^\w+ /gm,
        '',
      );
    const carried = join(layer, 'libVkLayer_realhf_share.so');
    expect(symbols(built)).toBe(symbols(carried));
    // Another compiler may give other bytes; this one that made it must not.
    const compiler = (path: string) => /GCC: [^\0]*/.exec(readFileSync(path, 'latin1'))?.[0];
    if (compiler(built) === compiler(carried))
      expect(readFileSync(built).equals(readFileSync(carried))).toBe(true);
  });
});

/** Lavapipe's and SwiftShader's drivers, as Vulkan's loader wants them; SwiftShader from npm. */
function drivers(folder: string): string {
  const root = join(dirname(fileURLToPath(import.meta.url)), '../../../..');
  const packed = join(root, 'node_modules/@sparticuz/chromium/bin/swiftshader.tar.br');
  execFileSync('tar', ['-x', '-C', folder], { input: brotliDecompressSync(readFileSync(packed)) });
  const json = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  const icd = json.find((name) => name.endsWith('vk_swiftshader_icd.json'))!;
  return `${lavapipe}:${join(folder, icd)}`;
}
