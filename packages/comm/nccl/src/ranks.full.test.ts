/** Eight ranks as processes, on shared buffers and through the host. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { buildDoubles, bundle, canRun, runRanks, type Doubles } from './testing/doubles.js';

describe.runIf(canRun())('four to eight ranks as processes', () => {
  let doubles: Doubles;
  let program: string;
  beforeAll(async () => {
    doubles = buildDoubles();
    program = await bundle('rank-main', doubles.folder);
  });
  afterAll(() => {
    doubles.close();
  });

  test.each([4, 5, 6, 7, 8])('%i ranks', async (size) => {
    for (const MEMORY of ['shared', 'staged']) {
      const env = { ...doubles.env, MEMORY, GROUPS: '1' };
      for (const { out } of await runRanks(program, size, env, doubles.folder))
        expect(out).toMatch(new RegExp(`^ok ${MEMORY}`));
    }
  });
});
