/** Kernels on matrix units can't run here: what was proved on a GPU must be what is here now. */
import { readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

import { attentionF16 } from '../ops/attention/attention-f16.js';
import { f16Matmul } from '../ops/matmul/f16.js';
import { wgslHash, type GpuProof } from './wgsl-hash.js';

test.each([
  ['matmul_f16', 'matmul/f16.gpu-check', f16Matmul],
  ['attention_f16', 'attention/attention-f16.gpu-check', attentionF16],
] as const)(
  '%s is as its GPU check saw it (else run that again)',
  async (prefix, file, launcher) => {
    // Its module has defined the kernels.
    expect(launcher).toBeTypeOf('function');
    const url = new URL(`../ops/${file}.json`, import.meta.url);
    const proof = JSON.parse(readFileSync(url, 'utf8')) as GpuProof;
    expect(proof.failures).toBe(0);
    expect(proof.checked.length).toBeGreaterThan(0);
    expect(proof.wgsl).toBe(await wgslHash(prefix));
  },
);
