/** `npm run sizes`: packs and installs the packages in a temporary folder, and writes the tables of their READMEs. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { execute } from '../check/process.js';
import { packAll, publicPackages } from '../check/tarballs.js';
import { installSize, sizeTable, withTable } from './install-size.js';
import { Outside } from './outside.js';
import { serveRegistry } from './registry.js';

/** @returns the exit code. */
export async function main(root: string): Promise<number> {
  const built = await execute('npx', ['turbo', 'run', 'build', '--output-logs=errors-only'], {
    cwd: root,
  });
  if (built.code !== 0) throw new Error(built.output);
  const temporary = mkdtempSync(join(tmpdir(), 'realhf-sizes-'));
  try {
    const packed = join(temporary, 'packed');
    const problems = await packAll(root, packed);
    if (problems) throw new Error(problems);
    const registry = await serveRegistry(root, packed);
    const outside = new Outside(join(temporary, 'mine'), registry.url);
    const packages = publicPackages(root);
    await outside.install(...packages.map((p) => p.name));
    registry.close();
    for (const { name, folder } of packages) {
      const path = join(root, folder, 'README.md');
      const table = sizeTable(installSize(join(outside.folder, 'node_modules'), name));
      writeFileSync(path, withTable(readFileSync(path, 'utf8'), table));
      console.log(`${folder}/README.md`);
    }
    return 0;
  } finally {
    rmSync(temporary, { recursive: true });
  }
}
