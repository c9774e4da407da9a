/**
 * Composing from npm: the packed packages, installed in a folder of their own in the order in which one comes to need
 * them, do what the examples say; with public exports alone, under Node and in a browser.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, test } from 'vitest';

import { execute } from '../check/process.js';
import { packAll, publicPackages } from '../check/tarballs.js';
import { installSize, readTable, totalBytes } from './install-size.js';
import { Outside } from './outside.js';
import { bundle, chromiumPath, openPage } from './page.js';
import { readmeBlocks } from './readme-blocks.js';
import { serveRegistry } from './registry.js';

const root = join(import.meta.dirname, '../../..');
const packages = publicPackages(root).filter((p) => p.name !== '@realhf/comm-nccl');
const temporary = mkdtempSync(join(tmpdir(), 'realhf-compose-'));
const blocks = readmeBlocks(
  root,
  packages.map((p) => p.folder),
);
let outside: Outside;
let registry: Awaited<ReturnType<typeof serveRegistry>> | undefined;
/** Losses under Node, to which a page's are compared. */
let nodeLosses: number[] = [];

const lossesIn = (text: string): number[] =>
  [...text.matchAll(/^step \d+ loss ([\d.]+)$/gm)].map((m) => Number(m[1]));

/** Runs the READMEs' programs that need no more packages than these. */
async function runBlocks(...names: readonly string[]): Promise<void> {
  const wanted = blocks.filter((b) => b.runs && names.includes(b.file.split('-')[0]!));
  expect(wanted.length).toBeGreaterThanOrEqual(names.length);
  for (const { file } of wanted) await outside.run('node', `readme/${file.replace('.ts', '.js')}`);
}

beforeAll(async () => {
  const built = await execute('npx', ['turbo', 'run', 'build', '--output-logs=errors-only'], {
    cwd: root,
  });
  expect(built.code, built.output).toBe(0);
  const packed = join(temporary, 'packed');
  expect(await packAll(root, packed)).toBe('');
  registry = await serveRegistry(root, packed);
  outside = new Outside(join(temporary, 'mine'), registry.url);
  outside.copy(join(root, 'examples'), 'examples');
  for (const { file, text } of blocks) {
    outside.write(`readme/${file}`, text);
    outside.transpile(`readme/${file}`);
  }
}, 300_000);

afterAll(() => {
  registry?.close();
  rmSync(temporary, { recursive: true, force: true });
}, 120_000);

test('packing alone: api and zod come along, nothing else', async () => {
  await outside.install('@realhf/packing');
  expect(outside.installed()).toEqual(['@realhf/api', '@realhf/packing', 'zod']);
  await runBlocks('api', 'packing');
});

test('a graph with dataflow, comm and packing', async () => {
  await outside.install('@realhf/dataflow', '@realhf/comm');
  expect(outside.installed()).toEqual([
    ...['api', 'comm', 'dataflow', 'packing'].map((p) => `@realhf/${p}`),
    'zod',
  ]);
  expect(await outside.run('node', 'examples/draw-ppo-graph.js')).toContain('actor_train');
  await runBlocks('dataflow', 'comm');
});

test('SFT in a loop of its own, and generation from a checkpoint', async () => {
  await outside.install(
    '@realhf/model',
    '@realhf/backends',
    'webgpu',
    '@sparticuz/chromium@147.0.0',
  );
  nodeLosses = lossesIn(await outside.run('node', 'examples/sft/node.js'));
  expect(nodeLosses).toHaveLength(10);
  expect(nodeLosses.at(-1)).toBeLessThan(nodeLosses[0]! * 0.75);
  expect(await outside.run('node', 'examples/generate.js')).toBe('hello,world\n');
  await runBlocks('model', 'backends');
});

test('GRPO and ReMax as a user writes them: rewards rise', async () => {
  for (const name of ['grpo', 'remax']) {
    const output = await outside.run('node', `examples/custom/${name}.js`);
    const rewards = [...output.matchAll(/reward ([\d.]+)$/gm)].map((m) => Number(m[1]));
    const mean = (part: readonly number[]) => part.reduce((a, b) => a + b, 0) / part.length;
    expect(mean(rewards.slice(-4)), name).toBeGreaterThan(2 * mean(rewards.slice(0, 4)));
  }
});

test.skipIf(!existsSync(chromiumPath))(
  'SFT in a page that Vite bundled, in Chromium: the losses of Node (needs Chromium)',
  async () => {
    const out = join(temporary, 'page');
    const bytes = await bundle(join(outside.folder, 'examples/sft'), out);
    expect(bytes).toBeLessThan(1e6);
    const text = await openPage(out);
    const losses = lossesIn(text);
    expect(losses, text).toHaveLength(10);
    losses.forEach((loss, i) => {
      expect(Math.abs(loss - nodeLosses[i]!), `step ${i + 1}: ${loss}`).toBeLessThan(1e-5);
    });
  },
);

test('the command: help, doctor, a tiny SFT, an algorithm of its own', async () => {
  await outside.install('@realhf/cli');
  expect(await outside.run('npx', '--no-install', 'real', '--help')).toContain(
    'supervised fine-tuning',
  );
  expect(await outside.run('npx', '--no-install', 'real', 'doctor')).toMatch(/swiftshader/i);
  outside.write(
    'model.js',
    "import { writeCharacterFolder } from './examples/character-folder.js';\nwriteCharacterFolder('model', 'abcdefgh');\n",
  );
  await outside.run('node', 'model.js');
  const records = Array.from({ length: 8 }, () => '{"prompt": "abc", "answer": "defgh"}\n');
  outside.write('data.jsonl', records.join(''));
  const common = ['trial_name=run', 'fileroot=runs', 'dataset.train_bs_n_seqs=4'];
  await outside.run(
    ...(['npx', '--no-install', 'real', 'sft', 'experiment_name=sft', ...common] as const),
    ...['model.init_from_scratch=true', 'model.config=model', 'dataset.train_path=data.jsonl'],
    ...['model.optimizer.lr=0.01', 'exp_ctrl.total_train_epochs=3'],
  );
  const metrics = readFileSync(join(outside.folder, 'runs/sft/run/metrics.jsonl'), 'utf8');
  const losses = [...metrics.matchAll(/"loss":([\d.]+)/g)].map((m) => Number(m[1]));
  expect(losses).toHaveLength(6);
  expect(losses.at(-1)).toBeLessThan(losses[0]!);
  await runBlocks('cli');
});

test('examples and the code of READMEs type-check against what was installed', async () => {
  // A package without types; a user would write the same line.
  outside.write('untyped.d.ts', "declare module 'vader-sentiment';\n");
  await outside.install('@types/node@20', '@webgpu/types');
  outside.write(
    'tsconfig.json',
    JSON.stringify({
      compilerOptions: {
        ...{ target: 'ES2023', lib: ['ES2023', 'DOM'], module: 'NodeNext', noEmit: true },
        ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true },
        ...{ types: ['node', '@webgpu/types'] },
      },
      include: ['examples/**/*.ts', 'readme/*.ts', 'untyped.d.ts'],
    }),
  );
  await outside.run('node', join(root, 'node_modules/typescript/bin/tsc'), '-p', '.');
});

test('tables of install sizes are right to a tenth: npm run sizes writes them', () => {
  for (const { name, folder } of packages) {
    const table = readTable(readFileSync(join(root, folder, 'README.md'), 'utf8'));
    const now = installSize(join(outside.folder, 'node_modules'), name);
    const { dependencies = {} } = JSON.parse(
      readFileSync(join(root, folder, 'package.json'), 'utf8'),
    ) as { dependencies?: Record<string, string> };
    expect(table.map((row) => row.name)).toEqual(
      expect.arrayContaining([name, ...Object.keys(dependencies)]),
    );
    const ratio = (table.at(-1)?.kilobytes ?? 0) / (totalBytes(now) / 1000);
    expect(Math.abs(ratio - 1), `${folder}/README.md`).toBeLessThan(0.1);
  }
});
