/** For tests: job.sh with doubles of CUDA and NCCL on lavapipe, from a folder packed as for another machine. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { openGpu, testAdapters } from '@realhf/backends/node';
import { labelToggle, VulkanLayer, withVulkanLayer } from '@realhf/comm-nccl';
import { afterAll, beforeAll } from 'vitest';

import {
  buildDoubles,
  canRun,
  type Doubles,
} from '../../../packages/comm/nccl/src/testing/doubles.js';
import { pack } from './pack.js';

const root = join(import.meta.dirname, '../../..');

/** Whether this machine can. */
export const hasJob = (await testAdapters()).includes('system-software') && canRun();

/** Packs before the tests of a suite; what is returned runs the job with variables and gives what it printed. */
export function useJob(): (env: Record<string, string>) => string {
  const parent = join(root, 'node_modules/.multi-gpu-test');
  let folder = '';
  let doubles: Doubles;
  let uuid = '';
  beforeAll(async () => {
    // Below the repository, where webgpu is found.
    mkdirSync(parent, { recursive: true });
    folder = mkdtempSync(join(parent, 'run-'));
    await pack(root, folder);
    doubles = buildDoubles();
    const { device } = await withVulkanLayer({}, () =>
      openGpu({ adapter: 'system-software', toggles: [labelToggle] }),
    );
    device.destroy();
    uuid = new VulkanLayer()
      .devices()
      .find((d) => d.shown)!
      .uuid.replaceAll('-', '');
  }, 120_000);
  afterAll(() => {
    doubles.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return (env) =>
    execFileSync('bash', [join(folder, 'job.sh')], {
      encoding: 'utf8',
      env: {
        ...process.env,
        ...doubles.env,
        REALHF_ADAPTER: 'system-software',
        REALHF_DOUBLE_UUID: uuid,
        LP_NUM_THREADS: '1',
        NODE: process.execPath,
        WORK: tmpdir(),
        PRECISION: 'f32',
        ...env,
      },
    });
}
