// Compiles every WGSL kernel in every variant without a GPU. Exit code 1 and one line a problem where any is wrong.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createViteServer } from 'vitest/node';

const root = join(import.meta.dirname, '..');
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
// Vite only turns the TypeScript sources into modules here; nothing is served or watched.
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
let failed = true;
try {
  const { checkRepository } = await server.ssrLoadModule('/tools/src/compile-wgsl/main.ts');
  const { problems, compiled, files } = await checkRepository(root);
  for (const problem of problems) console.log(problem);
  console.log(
    `wgsl: ${compiled} kernel variants of ${files} files compiled, ${problems.length} problems`,
  );
  failed = problems.length > 0;
} finally {
  await server.close();
}
process.exit(failed ? 1 : 0);
