/**
 * For tests: the doubles of libcuda and libnccl, built by gcc, and ranks as processes that use them on lavapipe's
 * buffers. All of it lies in a folder that `close` deletes.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../../../../..');
/** Lavapipe's driver. */
export const lavapipe = '/usr/share/vulkan/icd.d/lvp_icd.json';

export interface Doubles {
  readonly folder: string;
  /** What makes a process use the doubles, with lavapipe as its only GPU. */
  readonly env: Readonly<Record<string, string>>;
  /** A libnccl without `ncclGroupStart` and `ncclGroupEnd`. */
  readonly oldNccl: string;
  close(): void;
}

/** Builds the doubles. */
export function buildDoubles(): Doubles {
  const folder = mkdtempSync(join(tmpdir(), 'realhf-nccl-'));
  const cuda = join(folder, 'libcuda-double.so');
  const compile = (out: string, source: string, ...more: string[]) => {
    const flags = [
      '-std=gnu11',
      '-O1',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-fPIC',
      '-shared',
      '-pthread',
    ];
    execFileSync('gcc', [...flags, '-o', out, join(here, 'doubles', source), ...more]);
  };
  compile(cuda, 'cuda.c');
  const nccl = join(folder, 'libnccl-double.so');
  compile(nccl, 'nccl.c', cuda, '-lrt');
  const oldNccl = join(folder, 'libnccl-old.so');
  compile(oldNccl, 'nccl.c', cuda, '-lrt', '-DWITHOUT_GROUP');
  return {
    folder,
    oldNccl,
    env: {
      REALHF_CUDA: cuda,
      REALHF_NCCL: nccl,
      VK_DRIVER_FILES: lavapipe,
      VK_ICD_FILENAMES: lavapipe,
      XDG_RUNTIME_DIR: tmpdir(),
    },
    close() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Bundles a program of this folder; its native packages are found through a link beside it. @returns its path. */
export async function bundle(name: string, folder: string): Promise<string> {
  const out = join(folder, 'program', `${name}.mjs`);
  await build({
    entryPoints: [join(here, `${name}.ts`)],
    outfile: out,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    conditions: ['@realhf/source'],
    loader: { '.wgsl': 'text' },
    external: ['koffi', 'webgpu', 'zeromq', '@redis/client'],
    logLevel: 'error',
  });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  symlinkSync(join(here, '../../layer'), join(folder, 'layer'));
  return out;
}

/** What a rank said, and how it ended. */
export interface RankOutcome {
  readonly code: number | null;
  /** What it printed; its errors' stream too where it was ended by a signal. */
  readonly out: string;
  readonly errors: string;
}

/** Runs `program` as `size` processes, told their places by the environment. */
export async function runRanks(
  program: string,
  size: number,
  env: Readonly<Record<string, string>>,
  folder: string,
): Promise<RankOutcome[]> {
  const names = mkdtempSync(join(folder, 'names-'));
  const children: ChildProcess[] = [];
  const timer = setTimeout(() => {
    for (const child of children) child.kill('SIGKILL');
  }, 240_000);
  try {
    return await Promise.all(
      Array.from({ length: size }, (_, rank) => {
        const child = spawn(process.execPath, [program], {
          env: {
            ...process.env,
            // Several ranks share the cores.
            LP_NUM_THREADS: '1',
            ...env,
            RANK: String(rank),
            SIZE: String(size),
            NAMES: names,
          },
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        children.push(child);
        let out = '';
        child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
        // Dawn warns there of limits that it lowers.
        let errors = '';
        child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
        return new Promise<RankOutcome>((resolve) => {
          child.on('close', (code, signal) => {
            resolve({ code, errors, out: signal ? `${out}${errors}ended by ${signal}` : out });
          });
        });
      }),
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Whether this machine has what these tests need: gcc and a lavapipe that Dawn accepts. */
export function canRun(): boolean {
  try {
    readFileSync(lavapipe);
    execFileSync('gcc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
