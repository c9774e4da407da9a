/** Sizes of a made-up node_modules, and tables of READMEs. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { afterAll, expect, test } from 'vitest';

import { installSize, readTable, sizeTable, totalBytes, withTable } from './install-size.js';

const modules = join(mkdtempSync(join(tmpdir(), 'realhf-sizes-')), 'node_modules');
afterAll(() => {
  rmSync(dirname(modules), { recursive: true });
});

/** A package whose manifest and one file have `bytes` together. */
function add(at: string, name: string, bytes: number, manifest: object): void {
  const folder = join(modules, at);
  mkdirSync(folder, { recursive: true });
  const text = JSON.stringify({ name, ...manifest });
  writeFileSync(join(folder, 'package.json'), text);
  writeFileSync(join(folder, 'index.js'), ' '.repeat(bytes - text.length));
}

test('a package, what it needs, and what that needs; copies inside packages are found first', () => {
  add('@x/a', '@x/a', 1000, {
    dependencies: { b: '1' },
    optionalDependencies: { c: '1', no: '1' },
  });
  add('b', 'b', 2000, { dependencies: { d: '1' } });
  add('b/node_modules/d', 'd', 500, {});
  add('d', 'd', 9000, {});
  add('c', 'c', 4000, { dependencies: { b: '1' } });
  const packages = installSize(modules, '@x/a');
  expect(packages).toEqual([
    { name: '@x/a', bytes: 1000, optional: false },
    { name: 'b', bytes: 2000, optional: false },
    { name: 'c', bytes: 4000, optional: true },
    { name: 'd', bytes: 500, optional: false },
  ]);
  expect(totalBytes(packages)).toBe(3500);

  const page = withTable(
    'text\n\n<!-- install-size: npm run sizes -->\n\nold\n\n<!-- end -->\nmore\n',
    sizeTable(packages),
  );
  expect(page).toMatch(/^text\n[^]*\| b +\| +2 \|\n[^]*<!-- end -->\nmore\n$/);
  expect(readTable(page)).toEqual([
    { name: '@x/a', kilobytes: 1 },
    { name: 'b', kilobytes: 2 },
    { name: 'c', kilobytes: 4 },
    { name: 'd', kilobytes: 1 },
    { name: 'together', kilobytes: 4 },
  ]);
  expect(() => withTable('text', '')).toThrow('install-size');
});
