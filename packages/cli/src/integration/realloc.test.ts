/** Reallocation of real models on software adapters: twelve named layouts, actors and critics, EMA, halves. */
import type { ModelConfig, Parallelism } from '@realhf/api';
import { expect, it } from 'vitest';

import { useOps } from './harness.js';
import { nameOf, parallel, smallConfigs } from './realloc-layouts.js';
import { reallocDifference, type ReallocCase } from './realloc-suite.js';

const p = parallel;
const llama = smallConfigs.llama!;
const critic = smallConfigs['llama critic']!;
const gpt2 = smallConfigs['gpt2 tied']!;
const gpt2Critic = smallConfigs['gpt2 critic']!;
const cases: [string, Parallelism, Parallelism, ModelConfig, ModelConfig, Partial<ReallocCase>][] =
  [
    ['one device, another model', p(1, 1, 1), p(1, 1, 1), llama, llama, {}],
    ['train by tp, generate by dp', p(1, 8, 1), p(8, 1, 1), llama, llama, {}],
    ['generate by dp, train by tp', p(8, 1, 1), p(1, 8, 1), llama, llama, { perNode: 4 }],
    ['kv heads replicated, then not', p(1, 4, 2), p(2, 2, 2), llama, llama, { maxElements: 100 }],
    ['pipeline to tensor parallel', p(1, 1, 8), p(1, 4, 1), gpt2, gpt2, { shift: 8 }],
    ['tied embedding on both ends', p(2, 1, 2), p(1, 2, 4), gpt2, gpt2, { perNode: 2 }],
    ['tp to pp on the same ranks', p(1, 4, 1), p(1, 1, 4), gpt2, gpt2, { maxElements: 61 }],
    ['all three change', p(2, 2, 2), p(1, 8, 1), llama, llama, { shift: 3, perNode: 3 }],
    ['a critic from an actor', p(1, 2, 2), p(4, 1, 1), llama, critic, {}],
    ['a critic from a tied actor', p(1, 2, 2), p(2, 2, 1), gpt2, gpt2Critic, { shift: 2 }],
    ['EMA of a reference', p(2, 2, 1), p(1, 1, 4), llama, llama, { eta: 0.25, perNode: 2 }],
    ['halves on the wire', p(1, 4, 1), p(2, 2, 1), llama, llama, { wire: 'f16', eta: 0.25 }],
  ];

const ops = useOps();
it.each(cases)('%s', async (_name, from, to, source, target, how) => {
  const held = ops().memory().live;
  const wrong = await reallocDifference(ops(), source, target, { from, to, ...how });
  expect(wrong, `${nameOf(from)} → ${nameOf(to)}`).toBeUndefined();
  expect(ops().memory().live).toBe(held);
});
