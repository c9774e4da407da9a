/** Pages keep up with the code: links lead somewhere, and the commands that they name exist. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../..');
const markdown = (folder: string, recursive = false) =>
  readdirSync(join(root, folder), { recursive, encoding: 'utf8' })
    .filter((f) => f.endsWith('.md'))
    .map((f) => join(folder, f));
const pages = [
  ...markdown('.'),
  ...markdown('docs', true),
  ...readdirSync(join(root, 'packages')).map((p) => `packages/${p}/README.md`),
].map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }));

test('links lead to files that exist', () => {
  const broken = pages.flatMap(({ path, text }) =>
    [...text.matchAll(/(?<!!)\[[^\]]*\]\(([^)#:]+)\)/g)]
      .map((m) => m[1]!)
      .filter((link) => !existsSync(join(root, dirname(path), link)))
      .map((link) => `${path}: ${link}`),
  );
  expect(broken).toEqual([]);
});

test('npm scripts that pages name exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  for (const { path, text } of pages)
    for (const [, name] of text.matchAll(/npm run (?:-s )?([a-z:-]+)/g))
      expect(Object.keys(scripts), `${path}: npm run ${name!}`).toContain(name);
});
