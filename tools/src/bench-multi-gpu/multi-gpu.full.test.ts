/** Reallocations between four ranks, whose messages go along chains, and of one rank to itself. */
import { describe, expect, it } from 'vitest';

import { hasJob, useJob } from './use-job.js';

describe.runIf(hasJob)('ranks over NCCL', () => {
  const job = useJob();

  it.each(['1', '4'])('%s: every word of a moved model is where it belongs', (GPUS) => {
    const shape = { PARTS: 'realloc', SHAPE: 'four', MESSAGE_MIB: '0.0625', REPEAT: '1' };
    expect(job({ ...shape, GPUS })).toContain('reallocations: all right');
  });
});
