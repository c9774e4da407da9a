import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { defaultCacheDir, unpackSwiftShader } from './swiftshader.js';

const supported = process.platform === 'linux' && process.arch === 'x64';

describe.runIf(supported)('SwiftShader from npm', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'realhf-test-'));
  });
  afterEach(() => {
    rmSync(dir, { recursive: true, force: true });
  });
  const from = [import.meta.url];

  test('is unpacked into an empty cache once, and leaves no temporary folder', () => {
    const cacheDir = join(dir, 'deep', 'cache');
    const first = unpackSwiftShader({ from, cacheDir });
    expect(readdirSync(cacheDir)).toEqual([`swiftshader-${first.version}`]);
    const { mtimeMs } = statSync(first.icd);
    expect(unpackSwiftShader({ from, cacheDir })).toEqual(first);
    expect(statSync(first.icd).mtimeMs).toBe(mtimeMs);
    expect(statSync(first.loader).size).toBeGreaterThan(100_000);
  });

  test('a folder that lost a file is made anew', () => {
    const first = unpackSwiftShader({ from, cacheDir: dir });
    rmSync(first.icd);
    expect(statSync(unpackSwiftShader({ from, cacheDir: dir }).icd).size).toBeGreaterThan(0);
    expect(readdirSync(dir)).toHaveLength(1);
  });

  test('a cache that can not be a folder is replaced by a temporary one', () => {
    const file = join(dir, 'file');
    writeFileSync(file, '');
    const found = unpackSwiftShader({ from, cacheDir: file });
    expect(found.icd.startsWith(tmpdir())).toBe(true);
    expect(statSync(found.icd).size).toBeGreaterThan(0);
  });

  test('an absent or broken package is named with what to do', () => {
    expect(() => unpackSwiftShader({ from: [join(dir, 'x.js')], cacheDir: dir })).toThrow(
      /not installed; run: npm install/,
    );
    const root = join(dir, 'node_modules', '@sparticuz', 'chromium');
    mkdirSync(join(root, 'bin'), { recursive: true });
    writeFileSync(
      join(root, 'package.json'),
      '{"name":"@sparticuz/chromium","version":"0.1.0","main":"package.json"}',
    );
    expect(() => unpackSwiftShader({ from: [join(dir, 'x.js')], cacheDir: dir })).toThrow(
      /has no bin\/swiftshader.tar.br/,
    );
    writeFileSync(join(root, 'bin', 'swiftshader.tar.br'), 'no brotli');
    expect(() => unpackSwiftShader({ from: [join(dir, 'x.js')], cacheDir: dir })).toThrow(
      /can't unpack/,
    );
  });
});

test('the cache folder follows XDG_CACHE_HOME, an empty one counts as unset', () => {
  expect(defaultCacheDir({ XDG_CACHE_HOME: '/c' })).toBe(join('/c', 'realhf'));
  expect(defaultCacheDir({ XDG_CACHE_HOME: '' })).toMatch(/\.cache.realhf$/);
});
