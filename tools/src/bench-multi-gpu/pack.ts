/**
 * A folder that runs on a machine with GPUs and nothing of Node's tools: `real` and the programs of this benchmark, each
 * one file, beside @realhf/comm-nccl and the native packages of x86-64 Linux. `webgpu` is looked for above the folder.
 */
import { cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { build } from 'esbuild';

import { bundleOptions } from '../../../packages/cli/src/e2e/bundle-options.js';

const external = [
  'koffi',
  'webgpu',
  'zeromq',
  '@redis/client',
  '@sparticuz/chromium',
  'jiti',
  'esbuild',
];

/** Writes `out` anew. */
export async function pack(root: string, out: string): Promise<void> {
  rmSync(out, { recursive: true, force: true });
  const here = join(root, 'tools/src/bench-multi-gpu');
  const nccl = join(root, 'packages/comm/nccl');
  const dist = join(out, 'dist');
  mkdirSync(dist, { recursive: true });
  const common = bundleOptions(external);
  await build({
    ...common,
    entryPoints: {
      main: join(root, 'packages/cli/src/main.ts'),
      check: join(nccl, 'src/testing/rank-main.ts'),
      ...Object.fromEntries(
        ['layouts', 'ppo-inputs', 'ppo-table', 'rates', 'realloc'].map((name) => [
          name,
          join(here, `${name}-main.ts`),
        ]),
      ),
    },
    outdir: dist,
    outExtension: { '.js': '.mjs' },
  });
  await build({
    ...common,
    entryPoints: [join(nccl, 'src/index.ts')],
    outfile: join(out, 'node_modules/@realhf/comm-nccl/dist/index.js'),
  });
  const manifest = { name: '@realhf/comm-nccl', type: 'module', exports: './dist/index.js' };
  writeFileSync(join(out, 'node_modules/@realhf/comm-nccl/package.json'), JSON.stringify(manifest));
  for (const layer of ['layer', 'node_modules/@realhf/comm-nccl/layer'])
    cpSync(join(nccl, 'layer'), join(out, layer), { recursive: true });
  cpSync(join(root, 'packages/cli/package.json'), join(out, 'package.json'));
  cpSync(join(root, 'packages/cli/bin'), join(out, 'bin'), { recursive: true });
  const copy = (name: string) => {
    cpSync(join(root, 'node_modules', name), join(out, 'node_modules', name), {
      recursive: true,
      dereference: true,
      filter: (path) =>
        !/zeromq\/(src|build\/(darwin|win32|linux\/arm64|linux\/x64\/node\/musl.*))$/.test(path) &&
        !/cmake-ts\/build\/(?!loader|package)[^/]+$/.test(path) &&
        !path.endsWith('cmake-ts/node_modules'),
    });
  };
  for (const name of ['koffi', '@koromix/koffi-linux-x64', 'zeromq', 'cmake-ts', 'jiti'])
    copy(name);
  for (const name of ['job.sh', 'peer.py']) cpSync(join(here, name), join(out, name));
}
