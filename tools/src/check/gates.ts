/** The list of gates. Those that look at tarballs share one `npm pack`, so what is checked is what would be published. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import getReleasePlan from '@changesets/get-release-plan';

import { findCycles } from './cycles.js';
import { entryPoints, undocumented } from './documented.js';
import type { Gate } from './gate.js';
import { readSources } from './imports.js';
import { globalProblems, layerProblems, nodeProblems } from './layers.js';
import { execute } from './process.js';
import { smokeTest } from './smoke.js';
import { packAll } from './tarballs.js';

/** All gates, and what removes their temporary files. */
export function allGates(root: string): { gates: Gate[]; cleanUp: () => void } {
  const temp = mkdtempSync(join(tmpdir(), 'realhf-check-'));
  const packed = join(temp, 'tarballs');

  const command = (name: string, line: string, needs: readonly string[] = []): Gate => ({
    name,
    needs,
    async run() {
      const [program = '', ...args] = line.split(' ');
      const { code, output } = await execute(program, args, { cwd: root });
      return code === 0 ? '' : output || `${line}: exit code ${code}`;
    },
  });
  /** The same on every tarball. */
  const perTarball = (name: string, line: (tarball: string) => string): Gate => ({
    name,
    needs: ['pack'],
    async run() {
      const problems: string[] = [];
      for (const file of readdirSync(packed))
        problems.push(await command(name, line(join(packed, file))).run());
      return problems.filter(Boolean).join('\n');
    },
  });
  const sources = (name: string, find: () => readonly string[]): Gate => ({
    name,
    run: () => find().join('\n'),
  });

  const gates: Gate[] = [
    command('types', 'npx tsc -p tsconfig.json'),
    command('lint', 'npx eslint . --max-warnings 0'),
    command('format', 'npx prettier --check --log-level warn .'),
    sources('layers', () => {
      const files = readSources(root);
      return [...layerProblems(files), ...nodeProblems(files), ...globalProblems(root)];
    }),
    sources('cycles', () => findCycles(readSources(root))),
    sources('documented', () => undocumented(root, entryPoints(root))),
    command('dead', 'npx knip --no-progress'),
    command('build', 'npx turbo run build --output-logs=errors-only'),
    { name: 'pack', needs: ['build'], run: () => packAll(root, packed) },
    perTarball('publint', (file) => `npx publint run ${file} --strict`),
    perTarball('attw', (file) => `npx attw ${file} --profile esm-only --no-emoji`),
    command('wgsl', 'node tools/compile-wgsl.mjs'),
    { name: 'changesets', run: () => changesetProblems(root) },
    { name: 'smoke', needs: ['pack'], run: () => smokeTest(root, packed, join(temp, 'smoke')) },
  ];
  return {
    gates,
    cleanUp: () => {
      rmSync(temp, { recursive: true, force: true });
    },
  };
}

/** Reads the config and every changeset file, and plans the release that they ask for. */
async function changesetProblems(root: string): Promise<string> {
  try {
    await getReleasePlan(root);
    return '';
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
}
