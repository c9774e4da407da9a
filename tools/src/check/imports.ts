/** Imports of our own sources, read with TypeScript's parser: what the layer and cycle checks stand on. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

import ts from 'typescript';

export interface Import {
  readonly specifier: string;
  /** 1-based. */
  readonly line: number;
}

/** Sources by path from the repository's root, `/` between folders. */
export type Sources = ReadonlyMap<string, string>;

/** Every `import`, `export … from`, `import()` and `import('…').Type` of a file. */
export function importsOf(path: string, text: string): Import[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const found: Import[] = [];
  const add = (node: ts.Node | undefined) => {
    if (!node || !ts.isStringLiteralLike(node)) return;
    const { line } = file.getLineAndCharacterOfPosition(node.getStart());
    found.push({ specifier: node.text, line: line + 1 });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
      add(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

/** TypeScript sources under `packages/<name>/src` and `tools/src`. */
export function readSources(root: string): Sources {
  const packages = [...readdirSync(join(root, 'packages')), 'comm/nccl'].map(
    (name) => `packages/${name}/src`,
  );
  const sources = new Map<string, string>();
  for (const folder of [...packages, 'tools/src', 'examples']) {
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (!/\.m?ts$/.test(file) || file.endsWith('.d.ts')) continue;
      const path = join(root, folder, file);
      sources.set(relative(root, path), readFileSync(path, 'utf8'));
    }
  }
  return sources;
}

/** The file of ours that a specifier means; undefined for other packages, Node and `.wgsl`. */
export function resolveImport(
  sources: Sources,
  from: string,
  specifier: string,
): string | undefined {
  if (specifier.startsWith('.')) {
    const path = normalize(join(dirname(from), specifier));
    return [path, path.replace(/js$/, 'ts')].find((p) => sources.has(p));
  }
  const [, name, subpath] = /^@realhf\/([a-z]+)(\/.*)?$/.exec(specifier) ?? [];
  if (name === undefined) return undefined;
  const path = `packages/${name}/src${subpath ?? ''}/index.ts`;
  return sources.has(path) ? path : undefined;
}

/** `packages/model/src/x.ts` → `model`; `tools`, `examples` for the rest. */
export function packageOf(path: string): string {
  if (path.startsWith('packages/comm/nccl/')) return 'comm-nccl';
  const [first = '', second = ''] = path.split('/');
  return first === 'packages' ? second : first;
}
