/**
 * The layers: `api ← packing, comm ← model, backends, dataflow ← cli`; model and backends never meet. What a root
 * export reaches needs no Node. Tests may import what their package may; tests of cli and tools may import everything.
 */
import { join } from 'node:path';

import ts from 'typescript';

import { importsOf, packageOf, resolveImport, type Sources } from './imports.js';

const core = ['api', 'packing', 'comm'];

/** Packages that a package may import besides itself. */
export const allowed: Readonly<Record<string, readonly string[]>> = {
  api: [],
  packing: ['api'],
  comm: ['api', 'packing'],
  'comm-nccl': ['api', 'comm'],
  model: core,
  backends: core,
  dataflow: core,
  cli: [...core, 'model', 'backends', 'dataflow'],
};

/** Packages whose root export also runs in a browser. */
export const browserPackages = ['api', 'packing', 'comm', 'model', 'backends', 'dataflow'];

const isTest = (path: string) => /\.test\.ts$|\/(testing|integration|__fixtures__)\//.test(path);

/** Imports that go against the arrows, one line each. */
export function layerProblems(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [path, text] of sources) {
    const from = packageOf(path);
    const may = allowed[from];
    if (!may || (from === 'cli' && isTest(path))) continue;
    for (const { specifier, line } of importsOf(path, text)) {
      const name = /^@realhf\/([a-z-]+)/.exec(specifier)?.[1];
      const to = name ?? packageOf(join(path, '..', specifier));
      const ours = name !== undefined || specifier.startsWith('.');
      if (!ours) continue;
      const at = `${path}:${line}`;
      if (name === undefined) {
        if (to !== from)
          problems.push(`${at}: '${specifier}' leaves the package; import @realhf/${to}`);
      } else if (to === from) {
        problems.push(`${at}: '${specifier}' is this package; use a relative path`);
      } else if (!may.includes(to)) {
        problems.push(
          `${at}: ${from} imports ${to}; it may import only ${may.join(', ') || 'nothing'}`,
        );
      }
    }
  }
  return problems;
}

/** Files that the root export of a package reaches, each with the file that imports it first. */
export function reachable(sources: Sources, entry: string): Map<string, string> {
  const from = new Map([[entry, entry]]);
  for (const path of from.keys()) {
    for (const { specifier } of importsOf(path, sources.get(path) ?? '')) {
      const to = resolveImport(sources, path, specifier);
      if (to !== undefined && !from.has(to)) from.set(to, path);
    }
  }
  return from;
}

/** `node:` modules, `/node` subpaths and files under `src/node/` that a root export reaches. */
export function nodeProblems(sources: Sources, packages = browserPackages): string[] {
  const problems = new Set<string>();
  for (const name of packages) {
    for (const path of reachable(sources, `packages/${name}/src/index.ts`).keys()) {
      for (const { specifier, line } of importsOf(path, sources.get(path) ?? '')) {
        const to = resolveImport(sources, path, specifier);
        const bad = specifier.startsWith('node:') || (to ?? '').includes('/src/node/');
        if (bad)
          problems.add(
            `${path}:${line}: '${specifier}' is only for Node, the root export of ${packageOf(path)} reaches it; move it under src/node/`,
          );
      }
    }
  }
  return [...problems];
}

/** Type-checks the root exports with a browser's globals and without Node's: `Buffer` or `process` is an error. */
export function globalProblems(root: string, packages = browserPackages): string[] {
  const config = ts.readConfigFile(join(root, 'tsconfig.base.json'), (p) => ts.sys.readFile(p));
  const parsed = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const program = ts.createProgram(
    [
      join(root, 'types/wgsl.d.ts'),
      ...packages.map((p) => join(root, `packages/${p}/src/index.ts`)),
    ],
    {
      ...parsed.options,
      lib: [
        'lib.es2023.d.ts',
        'lib.dom.d.ts',
        'lib.dom.iterable.d.ts',
        'lib.dom.asynciterable.d.ts',
      ],
      types: ['@webgpu/types'],
    },
  );
  return ts.getPreEmitDiagnostics(program).map((d) => {
    const message = ts.flattenDiagnosticMessageText(d.messageText, ' ');
    if (!d.file || d.start === undefined) return message;
    const { line } = d.file.getLineAndCharacterOfPosition(d.start);
    return `${d.file.fileName.replace(`${root}/`, '')}:${line + 1}: ${message} (in a browser)`;
  });
}
