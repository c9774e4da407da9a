/**
 * Chi-square tests of many draws: 102,400 for each combination of warpers by the form for software adapters; fewer by the
 * form for GPUs, which these run slowly.
 */
import { test } from 'vitest';

import { onAdapters } from '../../testing/test-recorders.js';
import { expectDraws, grid } from './sample-checks.js';

onAdapters((r, name) => {
  test('102,400 draws for each combination of warpers pass a chi-square test', async () => {
    await expectDraws(r(), 'row', 200, grid);
  });

  test('draws by workgroups pass a chi-square test', async () => {
    await expectDraws(r(), 'workgroup', name === 'lavapipe' ? 40 : 4);
  });
});
