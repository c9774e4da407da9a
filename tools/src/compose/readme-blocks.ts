/**
 * Code of READMEs: every block marked ```ts, as a module. What a block takes for granted stands before it in a comment
 * that a page does not show, <!-- given: declare const ops: Ops; -->: such a block is type-checked, the others also run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface ReadmeBlock {
  /** e.g. `comm-2.ts`. */
  readonly file: string;
  readonly text: string;
  /** Nothing is given, so it is a program. */
  readonly runs: boolean;
}

/** Blocks of the READMEs of these package folders, in order. */
export function readmeBlocks(root: string, folders: readonly string[]): ReadmeBlock[] {
  return folders.flatMap((folder) => {
    const page = readFileSync(join(root, folder, 'README.md'), 'utf8');
    const name = folder.replace('packages/', '').replace('/', '-');
    return [...page.matchAll(/(?:<!-- given: ([^]*?) -->\n+)?^```ts\n([^]*?)^```$/gm)].map(
      ([, given, code], i) => ({
        file: `${name}-${i + 1}.ts`,
        text: `${given ?? ''}\n${code!}\nexport {};\n`,
        runs: given === undefined,
      }),
    );
  });
}
