/** A batch in parts on three data-parallel ranks against the same batch on one. */
import type { SequenceSample } from '@realhf/api';
import { loopbackCommunicators } from '@realhf/comm';
import { expect, it } from 'vitest';

import { PpoMemory } from './memory.js';
import { ppoOptionsSchema } from './options.js';
import { preparePpo } from './prepare.js';
import { packRollout, randomRollout } from './test-rollouts.js';

const options = ppoOptionsSchema.parse({
  use_adaptive_kl_ctl: true,
  mask_truncated_completions: true,
});
const concat = (parts: readonly SequenceSample[], key: string) =>
  parts.flatMap((p) => Array.from(p.f32(key)));

it('three ranks with parts of different sizes get what one rank gets, twice in a row', async () => {
  const memories = [0, 1, 2].map(() => new PpoMemory(options));
  const alone = new PpoMemory(options);
  const ranks = loopbackCommunicators(3, { timeoutMs: 2000 });
  for (const seed of [1, 2]) {
    const all = randomRollout(12, seed);
    const want = await alone.prepare({}, packRollout(all));
    const parts = [all.slice(0, 2), all.slice(2, 9), all.slice(9)];
    const got = await Promise.all(
      parts.map((part, r) =>
        memories[r]!.prepare(
          { overData: (values, op) => ranks[r]!.allReduce(values, op) },
          packRollout(part),
        ),
      ),
    );
    for (const key of ['advantages', 'returns']) {
      const values = concat(
        got.map((g) => g.sample),
        key,
      );
      concat([want.sample], key).forEach((v, i) => {
        expect(values[i], key).toBeCloseTo(v, 5);
      });
    }
    for (const [r, { stats, klCtl, klPerSequence }] of got.entries()) {
      expect(klCtl).toBeCloseTo(want.klCtl, 12);
      expect(klPerSequence).toBeCloseTo(want.klPerSequence, 10);
      for (const [name, value] of Object.entries(want.stats))
        expect(stats[name], name).toBeCloseTo(value, 9);
      // Not only close: copies of one state on all ranks.
      expect(memories[r]!.state()).toEqual(memories[0]!.state());
    }
  }
});

it('one rank keeps its bits', async () => {
  const input = packRollout(randomRollout(5, 3));
  const memory = new PpoMemory(options);
  const want = preparePpo(input, options, memory.kl.value, memory.norm);
  const { klCtl, ...got } = await memory.prepare({ overData: () => Promise.resolve() }, input);
  expect(got).toEqual(want);
  expect(klCtl).toBe(options.kl_ctl);
});
