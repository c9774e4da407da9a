// node packages/comm/nccl/bench/pack.mjs FOLDER: the programs for a machine with GPUs and nothing but a driver, each
// one file beside the layer and the two native packages. Node itself is brought by whoever runs them.
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) throw new Error('usage: pack.mjs FOLDER');
rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'program'), { recursive: true });
await build({
  entryPoints: [join(here, 'one-gpu.ts'), join(here, '../src/testing/rank-main.ts')],
  outdir: join(out, 'program'),
  entryNames: '[name]',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  conditions: ['@realhf/source'],
  loader: { '.wgsl': 'text' },
  external: ['koffi', 'webgpu', 'zeromq', '@redis/client'],
});
cpSync(join(here, '../layer'), join(out, 'layer'), { recursive: true });
const modules = join(here, '../../../../node_modules');
for (const name of ['webgpu', 'koffi', '@koromix/koffi-linux-x64'])
  cpSync(join(modules, name), join(out, 'node_modules', name), {
    recursive: true,
    dereference: true,
  });
