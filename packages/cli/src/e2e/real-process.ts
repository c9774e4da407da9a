/**
 * The real command as a process, from the sources: bundled once per test file into an ignored folder inside the
 * package, where its native and optional dependencies resolve as they do for dist. Needs no build before.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

import { build } from 'esbuild';
import { afterAll, beforeAll } from 'vitest';

import { bundleOptions } from './bundle-options.js';

const packageDir = join(import.meta.dirname, '../..');

/** A running or ended `real`. */
export interface RealProcess {
  /** What it printed so far. */
  readonly stdout: string;
  readonly stderr: string;
  /** False once it ended. */
  readonly running: boolean;
  kill(signal: NodeJS.Signals): void;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

export interface StartOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Bundles before the tests of a file; the function returned starts `real`, or another program, on SwiftShader. With
 * `nccl` it finds this source's @realhf/comm-nccl.
 */
export function useReal(
  program = join(packageDir, 'src/main.ts'),
  { nccl = false } = {},
): (words: readonly string[], options: StartOptions) => RealProcess {
  let dir = '';
  const children = new Set<{ kill(signal: NodeJS.Signals): void }>();
  beforeAll(async () => {
    const parent = join(packageDir, 'node_modules', '.e2e');
    mkdirSync(parent, { recursive: true });
    dir = mkdtempSync(join(parent, 'real-'));
    // main.js reads the manifest above its own folder.
    cpSync(join(packageDir, 'package.json'), join(dir, 'package.json'));
    symlinkSync(join(packageDir, 'assets'), join(dir, 'assets'));
    symlinkSync(join(packageDir, 'bin'), join(dir, 'bin'));
    const common = bundleOptions([
      'webgpu',
      'zeromq',
      '@redis/client',
      '@sparticuz/chromium',
      'jiti',
      'koffi',
    ]);
    await build({ ...common, entryPoints: [program], outfile: join(dir, 'dist/main.mjs') });
    if (!nccl) return;
    const source = join(packageDir, '../comm/nccl');
    const target = join(dir, 'node_modules/@realhf/comm-nccl');
    const entryPoints = [join(source, 'src/index.ts')];
    await build({ ...common, entryPoints, outfile: join(target, 'dist/index.js') });
    cpSync(join(source, 'package.json'), join(target, 'package.json'));
    symlinkSync(join(source, 'layer'), join(target, 'layer'));
  }, 120_000);
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });

  return (words, { cwd, env }) => {
    const child = spawn(process.execPath, [join(dir, 'dist/main.mjs'), ...words], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, REALHF_ADAPTER: 'swiftshader', ...env },
    });
    children.add(child);
    let stdout = '';
    let stderr = '';
    let running = true;
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (code, signal) => {
        running = false;
        children.delete(child);
        resolve(code ?? signal ?? 'SIGKILL');
      });
    });
    return {
      get stdout() {
        return stdout;
      },
      get stderr() {
        return stderr;
      },
      get running() {
        return running;
      },
      kill: (signal) => void child.kill(signal),
      ended,
    };
  };
}
