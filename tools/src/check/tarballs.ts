/** Packs every public package as `npm publish` would, and looks at what is inside. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { execute } from './process.js';

interface RootManifest {
  readonly workspaces: readonly string[];
}
export interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  /** Relative to the repository's root. */
  readonly folder: string;
  readonly exports?: Readonly<Record<string, unknown>>;
}
interface Packed {
  readonly name: string;
  readonly files: readonly { readonly path: string }[];
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** Manifests of the packages that are published. */
export function publicPackages(root: string): Manifest[] {
  const { workspaces } = readJson(join(root, 'package.json')) as RootManifest;
  return workspaces
    .map((folder) => ({
      ...(readJson(join(root, folder, 'package.json')) as Omit<Manifest, 'folder'>),
      folder,
    }))
    .filter((m) => !m.private);
}

/** Writes a tarball per package to `folder`. @returns what is wrong: files missing or that do not belong there. */
export async function packAll(root: string, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const packages = publicPackages(root);
  const workspaces = packages.flatMap((p) => ['-w', p.name]);
  const args = ['pack', '--json', '--loglevel=error', '--pack-destination', folder, ...workspaces];
  const { code, output } = await execute('npm', args, { cwd: root });
  if (code !== 0) return output;
  const list = JSON.parse(output.slice(output.search(/^[[{]/m))) as
    readonly Packed[] | Readonly<Record<string, Packed>>;
  return Object.values(list).flatMap(fileProblems).join('\n');
}

function fileProblems({ name, files }: Packed): string[] {
  const paths = files.map((f) => f.path);
  const missing = ['README.md', 'package.json', 'dist/index.js', 'dist/index.d.ts'].filter(
    (p) => !paths.includes(p),
  );
  const odd = paths.filter((p) => /\.test\.ts$|__fixtures__|^\.|\.tgz$/.test(p));
  return [
    ...missing.map((p) => `${name}: ${p} is not in the tarball`),
    ...odd.map((p) => `${name}: ${p} is in the tarball; exclude it in "files"`),
  ];
}
