/**
 * The pack smoke test: what a user gets. Installs the tarballs in an empty folder (other dependencies come from the
 * registry or npm's cache), imports every export, runs tools/smoke-job.mjs on SwiftShader and `npx real --help`.
 */
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { execute } from './process.js';
import { publicPackages } from './tarballs.js';

/** @returns what went wrong, or ''. */
export async function smokeTest(root: string, packed: string, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const tarballs = readdirSync(packed).map((file) => join(packed, file));
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ name: 'smoke', private: true, type: 'module' }),
  );
  const entries = publicPackages(root).flatMap((p) =>
    Object.keys(p.exports ?? {})
      .filter((e) => !e.endsWith('.json'))
      .map((e) => p.name + e.slice(1)),
  );
  copyFileSync(join(root, 'tools/smoke-job.mjs'), join(folder, 'job.mjs'));
  const commands = [
    ['npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', ...tarballs],
    ['node', 'job.mjs', ...entries],
    ['npx', '--no-install', 'real', '--help'],
  ] as const;
  const env = { REALHF_ADAPTER: 'swiftshader' };
  for (const [program, ...args] of commands) {
    const { code, output } = await execute(program, args, { cwd: folder, env });
    if (code !== 0) return `${program} ${args.slice(0, 2).join(' ')}: exit code ${code}\n${output}`;
  }
  return '';
}
