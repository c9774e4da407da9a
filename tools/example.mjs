// `npm run example NAME`: runs examples/NAME.ts on the sources, without a build.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { runModule } from './load.mjs';

const name = process.argv[2];
const folder = join(import.meta.dirname, '../examples');
if (!name || !existsSync(join(folder, `${name}.ts`))) {
  const names = readdirSync(folder).filter((f) => f.endsWith('.ts'));
  console.error(
    `npm run example NAME, where NAME is one of ${names.map((f) => f.slice(0, -3)).join(', ')}`,
  );
  process.exit(2);
}
await runModule(`examples/${name}.ts`, () => 0);
