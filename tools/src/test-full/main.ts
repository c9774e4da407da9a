/**
 * `npm run test:full`: all vitest projects, those too long for `npm test` among them, on every adapter of this machine.
 * Adds a section to docs/test-full-log.md: when, where, how many, how long.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';

import { adapterChoices, openGpu } from '@realhf/backends/node';

import { countTests, type VitestReport } from './report.js';

const log = 'docs/test-full-log.md';
const title =
  '# Runs of `npm run test:full`\n\nThe newest first; `tools/test-full.mjs` writes it.\n';

export async function main(root: string, args: readonly string[]): Promise<number> {
  const temp = mkdtempSync(join(tmpdir(), 'realhf-test-full-'));
  try {
    const report = join(temp, 'report.json');
    const start = performance.now();
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const vitest = spawnSync('npx', ['vitest', 'run', ...reporters, ...args], {
      cwd: root,
      stdio: 'inherit',
    });
    const seconds = (performance.now() - start) / 1000;
    const counts = countTests(JSON.parse(readFileSync(report, 'utf8')) as VitestReport, root);
    const slowest = counts.files.slice(0, 5).map((f) => `${f.path} ${f.seconds.toFixed(0)} s`);
    const section = [
      `## ${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`,
      '',
      `- ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped, ${(seconds / 60).toFixed(1)} minutes`,
      ...(args.length > 0 ? [`- only ${args.join(' ')}`] : []),
      `- commit ${commit(root)}`,
      `- ${machine()}`,
      ...(await adapters()).map((line) => `- ${line}`),
      `- slowest files: ${slowest.join(', ')}`,
      ...counts.failures.map((name) => `- FAILED ${name}`),
      ...counts.skips.map((name) => `- skipped ${name}`),
      '',
    ].join('\n');
    const path = join(root, log);
    const older = existsSync(path) ? readFileSync(path, 'utf8').replace(title, '') : '';
    writeFileSync(path, `${title}\n${section}${older}`);
    console.log(`\n${section}\nwritten to ${log}`);
    return vitest.status ?? 1;
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

function commit(root: string): string {
  const git = (...args: string[]) =>
    spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout.trim();
  const dirty = git('status', '--porcelain', '--', 'packages', 'tools', 'examples') !== '';
  return git('rev-parse', '--short', 'HEAD') + (dirty ? ' with local changes' : '');
}

function machine(): string {
  const [cpu] = cpus();
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  return `${cpus().length} × ${cpu?.model ?? 'unknown CPU'}, ${memory} GiB, ${process.platform} ${release()}, Node ${process.version}`;
}

async function adapters(): Promise<string[]> {
  const lines: string[] = [];
  for (const adapter of adapterChoices) {
    if (adapter === 'auto' || adapter === 'null') continue;
    try {
      const gpu = await openGpu({ adapter });
      lines.push(`adapter ${adapter}: ${gpu.adapterName} (${gpu.driver})`);
      gpu.device.destroy();
    } catch {
      lines.push(`adapter ${adapter}: none`);
    }
  }
  return lines;
}
