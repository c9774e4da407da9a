// Loads a TypeScript module of this repository, `.wgsl` imports included, without a build: Vite turns sources into
// modules in this process; nothing is served or watched.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createViteServer } from 'vitest/node';

const conditions = ['@realhf/source'];
const wgsl = {
  name: 'wgsl',
  enforce: 'pre',
  load(id) {
    return id.endsWith('.wgsl')
      ? `export default ${JSON.stringify(readFileSync(id, 'utf8'))}`
      : undefined;
  },
};
const root = join(import.meta.dirname, '..');

/** Loads the module at `path` (from the repository's root) and exits: with what `use` returns, or 1 where it throws. */
export async function runModule(path, use) {
  const server = await createViteServer({
    root,
    configFile: false,
    logLevel: 'error',
    plugins: [wgsl],
    server: { middlewareMode: true, ws: false, watch: null },
    optimizeDeps: { noDiscovery: true },
    resolve: { conditions },
    ssr: { resolve: { conditions } },
  });
  let code = 1;
  try {
    code = await use(await server.ssrLoadModule(`/${path}`));
  } catch (error) {
    console.error(error);
  } finally {
    await server.close();
  }
  process.exit(code);
}

/** Runs `main(root, args)` of a module under tools/src. */
export function runTool(path) {
  return runModule(path, ({ main }) => main(root, process.argv.slice(2)));
}
