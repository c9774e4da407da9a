/** Every export of every entry point of the published packages has a doc comment: what `npm run docs` would show empty. */
import { join, relative } from 'node:path';

import ts from 'typescript';

import { publicPackages } from './tarballs.js';

/** Sources of all entry points, relative to the repository's root. */
export function entryPoints(root: string): string[] {
  return publicPackages(root).flatMap(({ folder, exports = {} }) =>
    Object.values(exports).flatMap((conditions) =>
      typeof conditions === 'object' && conditions !== null && '@realhf/source' in conditions
        ? [join(folder, String(conditions['@realhf/source']))]
        : [],
    ),
  );
}

/** Exports without a doc comment, one line each. A re-export counts as what it names. */
export function undocumented(root: string, entries: readonly string[]): string[] {
  const config = ts.readConfigFile(join(root, 'tsconfig.base.json'), (p) => ts.sys.readFile(p));
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root);
  const wgsl = join(root, 'types/wgsl.d.ts');
  const program = ts.createProgram([wgsl, ...entries.map((e) => join(root, e))], options);
  const checker = program.getTypeChecker();
  const problems = new Set<string>();
  for (const entry of entries) {
    const file = program.getSourceFile(join(root, entry));
    const module = file && checker.getSymbolAtLocation(file);
    if (!module) {
      problems.add(`${entry}: not a module`);
      continue;
    }
    for (const exported of checker.getExportsOfModule(module)) {
      const symbol =
        exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      if (symbol.getDocumentationComment(checker).length > 0) continue;
      const declaration = symbol.declarations?.[0];
      const source = declaration?.getSourceFile();
      const { line } = source?.getLineAndCharacterOfPosition(declaration!.getStart()) ?? {};
      const at = source ? `${relative(root, source.fileName)}:${line! + 1}` : entry;
      problems.add(`${at}: '${exported.name}' has no doc comment`);
    }
  }
  return [...problems];
}
