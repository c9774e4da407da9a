/** Four ranks: layouts of two axes, reallocations whose messages go along chains; and one rank to itself. */
import { describe, expect, it } from 'vitest';

import { hasJob, useJob } from './use-job.js';

describe.runIf(hasJob)('ranks over NCCL', () => {
  const job = useJob();

  it('six layouts of four ranks compute what one rank computes', () => {
    const shape = { PARTS: 'layouts', SHAPE: 'four', SEQUENCES: '8', LENGTH: '16', NEW: '6' };
    const out = job({ ...shape, GPUS: '4' });
    expect(out.match(/^d\dm\dp\d .* 48\/48 /gm)).toHaveLength(6);
    expect(out).toContain('layouts: all right');
  });

  it.each(['1', '4'])('%s: every word of a moved model is where it belongs', (GPUS) => {
    const shape = { PARTS: 'realloc', SHAPE: 'four', MESSAGE_MIB: '0.0625', REPEAT: '1' };
    expect(job({ ...shape, GPUS })).toContain('reallocations: all right');
  });
});
