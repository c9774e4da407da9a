import { describe, expect, it } from 'vitest';

import { slotCount, turnOf } from './pipeline-slots.js';

const sizes = Array.from({ length: 8 }, (_, s) => s + 1).flatMap((stages) =>
  Array.from({ length: 16 }, (_, m) => ({ stages, microbatches: m + 1 })),
);
const tokens = 3;

describe('turns of pipelined generation, up to 8 stages and 16 microbatches', () => {
  it('are one for every token of every microbatch on every stage, within the slots counted', () => {
    for (const { stages, microbatches } of sizes)
      for (let stage = 0; stage < stages; stage++) {
        const slots = slotCount(stage, stages, microbatches, tokens);
        const seen = Array.from({ length: slots }, (_, t) =>
          turnOf(t, stage, stages, microbatches),
        ).filter((turn) => turn !== undefined);
        const names = seen.map((t) => `${t.token}.${t.microbatch}`);
        expect(new Set(names).size).toBe(names.length);
        expect(names).toHaveLength(tokens * microbatches);
        expect(seen.at(-1)).toEqual({ microbatch: microbatches - 1, token: tokens - 1 });
      }
  });

  it('come a slot after the previous stage, and never before the token that is fed was sampled', () => {
    for (const { stages, microbatches } of sizes)
      for (let slot = 0; slot < 40; slot++) {
        for (let stage = 1; stage < stages; stage++)
          expect(turnOf(slot + 1, stage, stages, microbatches)).toEqual(
            turnOf(slot, stage - 1, stages, microbatches),
          );
        const sampled = turnOf(slot, stages - 1, stages, microbatches);
        for (let t = 0; t <= slot; t++) {
          const fed = turnOf(t, 0, stages, microbatches);
          if (sampled && fed?.microbatch === sampled.microbatch)
            expect(fed.token).toBeLessThanOrEqual(sampled.token);
        }
      }
  });
});
