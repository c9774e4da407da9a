/**
 * `npm run bench:multi-gpu`: what several GPUs do together: collectives beside PyTorch's, one model in several layouts,
 * reallocation, PPO of four models. `--pack FOLDER` makes the folder for another machine instead (`job.sh` there runs
 * it); PARTS, SHAPE and the other variables of job.sh hold here too.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { pack } from './pack.js';

export async function main(root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: { pack: { type: 'string' } } });
  const folder = values.pack ?? join(root, 'node_modules/.bench-multi-gpu');
  await pack(root, folder);
  if (values.pack !== undefined) return 0;
  const { status } = spawnSync('bash', [join(folder, 'job.sh')], {
    stdio: 'inherit',
    env: { NODE: process.execPath, ...process.env },
  });
  return status ?? 1;
}
