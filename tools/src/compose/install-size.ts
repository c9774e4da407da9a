/** What `npm install` of a package brings: its dependencies and theirs, with the bytes of their files. */
import { existsSync, lstatSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

export interface InstalledPackage {
  readonly name: string;
  /** Of its files, without packages inside it. */
  readonly bytes: number;
  readonly optional: boolean;
}

interface Manifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** The package and all that it brings, itself first, then by name. What is not installed here is left out. */
export function installSize(modules: string, name: string): InstalledPackage[] {
  const found = new Map<string, InstalledPackage>();
  const visit = (folder: string, optional: boolean): void => {
    const seen = found.get(folder);
    if (seen && (optional || !seen.optional)) return;
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
    found.set(folder, { name: manifest.name, bytes: bytesIn(folder), optional });
    const optionals = manifest.optionalDependencies ?? {};
    for (const dependency of Object.keys({ ...manifest.dependencies, ...optionals })) {
      const at = resolve(folder, modules, dependency);
      if (at !== undefined) visit(at, optional || dependency in optionals);
    }
  };
  visit(join(modules, name), false);
  const [first, ...others] = found.values();
  return [first!, ...others.sort((a, b) => (a.name < b.name ? -1 : 1))];
}

function resolve(from: string, modules: string, name: string): string | undefined {
  for (let at = from; at.length >= dirname(modules).length; at = dirname(at)) {
    const candidate = join(at, 'node_modules', name);
    if (existsSync(join(candidate, 'package.json'))) return candidate;
  }
  return undefined;
}

function bytesIn(folder: string): number {
  return readdirSync(folder)
    .filter((entry) => entry !== 'node_modules')
    .reduce((sum, entry) => {
      const path = join(folder, entry);
      const stat = lstatSync(path);
      return sum + (stat.isDirectory() ? bytesIn(path) : stat.size);
    }, 0);
}

const kilobytes = (bytes: number): string => Math.ceil(bytes / 1000).toLocaleString('en-US');

/** Bytes of all that is not optional. */
export function totalBytes(packages: readonly InstalledPackage[]): number {
  return packages.reduce((sum, p) => sum + (p.optional ? 0 : p.bytes), 0);
}

/** As a table of Markdown, as Prettier would have it. */
export function sizeTable(packages: readonly InstalledPackage[]): string {
  const rows = [
    ['Package', 'kB unpacked'],
    ...packages.map((p) => [p.name + (p.optional ? ' (optional)' : ''), kilobytes(p.bytes)]),
    ['**together**', kilobytes(totalBytes(packages))],
  ];
  const [left = 0, right = 0] = [0, 1].map((i) => Math.max(...rows.map((row) => row[i]!.length)));
  const lines = rows.map(([a, b]) => `| ${a!.padEnd(left)} | ${b!.padStart(right)} |`);
  const rule = `| ${'-'.repeat(left)} | ${'-'.repeat(right - 1)}: |`;
  return [lines[0], rule, ...lines.slice(1)].join('\n');
}

const marked = /(<!-- install-size: npm run sizes -->\n+)([^]*?)(\n+<!-- end -->)/;

/** A README with another table between its marks. Throws where it has none. */
export function withTable(readme: string, table: string): string {
  if (!marked.test(readme))
    throw new Error('no <!-- install-size: npm run sizes --> … <!-- end -->');
  return readme.replace(marked, `$1${table}$3`);
}

/** Names and kB of a README's table, the last of them being the sum. */
export function readTable(readme: string): { name: string; kilobytes: number }[] {
  const [, , table = ''] = marked.exec(readme) ?? [];
  return [...table.matchAll(/^\| (\S+)[^|]*\| +([\d,]+) \|$/gm)].map(([, name, size]) => ({
    name: name!.replaceAll('*', ''),
    kilobytes: Number(size!.replaceAll(',', '')),
  }));
}
