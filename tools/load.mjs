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

/** Calls `main(root, args)` of the module at `path` (from the repository's root) and exits with what it returns. */
export async function runTool(path) {
  const root = join(import.meta.dirname, '..');
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
    const { main } = await server.ssrLoadModule(`/${path}`);
    code = await main(root, process.argv.slice(2));
  } catch (error) {
    console.error(error);
  } finally {
    await server.close();
  }
  process.exit(code);
}
