/** The benchmark's programs as they are packed for other machines, on doubles of CUDA and NCCL. */
import { describe, expect, it } from 'vitest';

import { hasJob, useJob } from './use-job.js';

describe.runIf(hasJob)('two ranks over NCCL', () => {
  const job = useJob();

  it('a model cut by data, by tensors and by layers: the losses, norms and tokens of one rank', () => {
    const out = job({ PARTS: 'layouts', SHAPE: 'tiny', SEQUENCES: '4', LENGTH: '16', NEW: '6' });
    expect(out).toContain("on WebGPU's buffers");
    expect(out).toContain('layouts: all right');
    const rows = out.matchAll(/^d\dm\dp\d \|.*\| (\S+), (\S+) \| 24\/24 \|/gm);
    const differences = [...rows].map(([, loss, norm]) => Math.max(Number(loss), Number(norm)));
    expect(differences).toHaveLength(3);
    for (const d of differences) expect(d).toBeLessThan(1e-5);
  });

  it('every word of a moved model is where it belongs', () => {
    const shape = { PARTS: 'realloc', SHAPE: 'tiny', MESSAGE_MIB: '0.25', REPEAT: '1' };
    expect(job(shape)).toContain('reallocations: all right');
  });
});
