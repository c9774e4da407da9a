/** 20,480 draws for each combination of warpers by the form for GPUs, which software adapters run slowly (fewer on the slowest). */
import { test } from 'vitest';

import { onAdapters } from '../../testing/test-recorders.js';
import { expectDraws } from './sample-checks.js';

onAdapters((r, name) => {
  test('draws by workgroups pass a chi-square test', async () => {
    await expectDraws(r(), 'workgroup', name === 'lavapipe' ? 40 : 4);
  });
});
