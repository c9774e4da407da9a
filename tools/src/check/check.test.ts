/** Gates on made-up repositories: each kind of mistake is found, and nothing else. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { findCycles } from './cycles.js';
import { undocumented } from './documented.js';
import { runGates, selectGates, type Gate } from './gate.js';
import { importsOf } from './imports.js';
import { layerProblems, nodeProblems } from './layers.js';

const sources = (files: Record<string, string>) => new Map(Object.entries(files));

test('imports of every form, with their lines', () => {
  const text = [
    "import a from 'a';",
    "export * from './b.js';",
    "import type { C } from './c.js';",
    "type D = import('./d.js').D;",
    "const e = await import('./e.js');",
    'const s = "import x from \'no\'";',
  ].join('\n');
  expect(importsOf('x.ts', text).map((i) => `${i.line} ${i.specifier}`)).toEqual([
    '1 a',
    '2 ./b.js',
    '3 ./c.js',
    '4 ./d.js',
    '5 ./e.js',
  ]);
});

test('cycles inside a package and through packages', () => {
  const files = sources({
    'packages/api/src/index.ts': "export * from './a.js';",
    'packages/api/src/a.ts': "import type { B } from './b.js';",
    'packages/api/src/b.ts': "import { a } from './a.js';",
    'packages/comm/src/index.ts': "import '@realhf/packing';",
    'packages/packing/src/index.ts': "import '@realhf/comm'; import '@realhf/api';",
  });
  expect(findCycles(files)).toEqual([
    expect.stringMatching(/packages\/api\/src\/a\.ts, packages\/api\/src\/b\.ts/),
    expect.stringMatching(/packages\/comm\/src\/index\.ts, packages\/packing/),
  ]);
});

test('layers: only the arrows that there are, no way round the exports', () => {
  const files = sources({
    'packages/model/src/good.ts': "import '@realhf/api'; import '@realhf/comm'; import './x.js';",
    'packages/model/src/bad.test.ts': "import '@realhf/backends/node';",
    'packages/comm/src/bad.ts': "import '@realhf/dataflow';",
    'packages/cli/src/bad.ts': "import '../../model/src/index.js';",
    'packages/api/src/self.ts': "import '@realhf/api';",
    'packages/cli/src/free.test.ts': "import '../../model/src/index.js';",
    'tools/src/free.ts': "import '../../packages/model/src/index.js';",
  });
  expect(layerProblems(files)).toEqual([
    expect.stringMatching(/^packages\/model\/src\/bad\.test\.ts:1: model imports backends/),
    expect.stringMatching(/^packages\/comm\/src\/bad\.ts:1: comm imports dataflow/),
    expect.stringMatching(/^packages\/cli\/src\/bad\.ts:1: .* leaves the package/),
    expect.stringMatching(/^packages\/api\/src\/self\.ts:1: .* is this package/),
  ]);
});

test('root exports that reach Node, through another package too', () => {
  const files = sources({
    'packages/api/src/index.ts': "export * from './deep.js';",
    'packages/api/src/deep.ts': "import { join } from 'node:path';",
    'packages/packing/src/index.ts': "import '@realhf/api';",
    'packages/model/src/index.ts': "export * from './node/index.js';",
    'packages/model/src/node/index.ts': "import 'node:fs';",
    'packages/comm/src/index.ts': 'export {};',
    'packages/comm/src/only-node.ts': "import 'node:fs';",
  });
  expect(nodeProblems(files, ['packing', 'model', 'comm'])).toEqual([
    expect.stringMatching(/^packages\/api\/src\/deep\.ts:1: 'node:path'/),
    expect.stringMatching(/^packages\/model\/src\/index\.ts:1: '\.\/node\/index\.js'/),
    expect.stringMatching(/^packages\/model\/src\/node\/index\.ts:1: 'node:fs'/),
  ]);
});

test('gates run after what they need, or not at all', async () => {
  const order: string[] = [];
  const gate = (name: string, needs: string[], problems = ''): Gate => ({
    name,
    needs,
    run: () => {
      order.push(name);
      return problems;
    },
  });
  const thrown: Gate = { name: 'thrown', run: () => Promise.reject(new Error('broken')) };
  const gates = [gate('c', ['b']), gate('b', ['a']), gate('a', [], 'bad'), gate('d', []), thrown];
  const results = await runGates(gates, 2, () => undefined);
  expect(order).toEqual(['a', 'd']);
  expect(results.map((r) => `${r.name} ${r.passed}`)).toEqual([
    'c false',
    'b false',
    'a false',
    'd true',
    'thrown false',
  ]);
  expect(results[1]!.problems).toBe('not run, it needs a');
  expect(results[4]!.problems).toContain('broken');
  expect(selectGates(gates, ['b']).map((g) => g.name)).toEqual(['b', 'a']);
  expect(() => selectGates(gates, ['x'])).toThrow(/no gate 'x'; gates: c, b/);
});

test('exports without a doc comment, re-exports and merged names included', () => {
  const root = mkdtempSync(join(tmpdir(), 'realhf-documented-'));
  try {
    mkdirSync(join(root, 'types'));
    writeFileSync(join(root, 'types/wgsl.d.ts'), '');
    writeFileSync(join(root, 'tsconfig.base.json'), '{ "compilerOptions": { "types": [] } }');
    writeFileSync(join(root, 'index.ts'), "export * from './a.js';\nexport const bare = 1;\n");
    const lines = ['/** Said. */', 'export const both = 1;', 'export type both = number;'];
    writeFileSync(join(root, 'a.ts'), `${lines.join('\n')}\nexport interface Silent {}\n`);
    expect(undocumented(root, ['index.ts', 'none.ts'])).toEqual([
      "index.ts:2: 'bare' has no doc comment",
      "a.ts:4: 'Silent' has no doc comment",
      'none.ts: not a module',
    ]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
