/** A folder outside of the repository, as a user has it: npm, Node and the examples as JavaScript; no source of ours. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import ts from 'typescript';

import { execute } from '../check/process.js';

const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.ES2022,
  verbatimModuleSyntax: true,
};

/** A user's folder. Its methods throw an Error with all that the program printed where its exit code is not 0. */
export class Outside {
  readonly folder: string;

  constructor(folder: string, registry: string) {
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    this.write('package.json', JSON.stringify({ name: 'mine', private: true, type: 'module' }));
    this.write('.npmrc', `@realhf:registry=${registry}\nfund=false\naudit=false\n`);
  }

  write(path: string, text: string): void {
    const to = join(this.folder, path);
    mkdirSync(dirname(to), { recursive: true });
    writeFileSync(to, text);
  }

  /** Copies a folder of TypeScript and puts JavaScript beside it. */
  copy(from: string, to: string): void {
    const target = join(this.folder, to);
    cpSync(from, target, { recursive: true });
    for (const file of readdirSync(target, { recursive: true, encoding: 'utf8' }))
      if (file.endsWith('.ts')) this.transpile(join(to, file));
  }

  /** Writes the JavaScript of a file of this folder beside it. */
  transpile(path: string): void {
    const text = readFileSync(join(this.folder, path), 'utf8');
    const { outputText } = ts.transpileModule(text, { compilerOptions });
    this.write(path.replace(/\.ts$/, '.js'), outputText);
  }

  /** `npm install` of these packages, from npm's cache as far as that has them. */
  async install(...packages: readonly string[]): Promise<void> {
    await this.run('npm', 'install', '--prefer-offline', '--no-progress', ...packages);
  }

  /** Names of all packages in node_modules, scopes included. */
  installed(): string[] {
    const modules = join(this.folder, 'node_modules');
    if (!existsSync(modules)) return [];
    return readdirSync(modules)
      .filter((name) => !name.startsWith('.'))
      .flatMap((name) =>
        name.startsWith('@')
          ? readdirSync(join(modules, name)).map((inner) => `${name}/${inner}`)
          : [name],
      )
      .sort();
  }

  /** @returns what it printed. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    const { code, output } = await execute(program, args, {
      cwd: this.folder,
      env: { REALHF_ADAPTER: 'swiftshader' },
    });
    if (code !== 0) throw new Error(`${program} ${args.join(' ')}: exit code ${code}\n${output}`);
    return output;
  }
}
