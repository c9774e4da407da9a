#!/usr/bin/env node
// The `real` command. Runs dist/main.js; inside the monorepo, where dist may not be built yet, builds it once.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const packageDir = dirname(dirname(fileURLToPath(import.meta.url)));
const main = join(packageDir, 'dist', 'main.js');

function fail(message) {
  process.stderr.write(`real: ${message}\n`);
  process.exit(1);
}

/** The monorepo's root, or undefined where the package is installed from a registry. */
function workspaceRoot() {
  const root = dirname(dirname(packageDir));
  try {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    return manifest.name === 'realhf-monorepo' ? root : undefined;
  } catch {
    return undefined;
  }
}

if (!existsSync(main)) {
  const root = workspaceRoot();
  if (!root) fail(`${main} is missing, the installation is incomplete: reinstall @realhf/cli`);
  if (!existsSync(join(root, 'node_modules'))) fail(`run 'npm install' in ${root} first`);
  process.stderr.write('real: building once, about a minute (npm run build) …\n');
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const built = spawnSync(npm, ['run', '--silent', 'build'], {
    cwd: root,
    // Silent unless it fails.
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: '1' },
    shell: process.platform === 'win32',
  });
  if (built.error) fail(`the build did not start: ${built.error.message}`);
  if (built.status !== 0 || !existsSync(main)) {
    process.stderr.write(`${built.stdout}${built.stderr}`);
    fail(`the build failed (exit ${built.status}); run 'npm run build' in ${root}`);
  }
}

await import(new URL('../dist/main.js', import.meta.url).href);
