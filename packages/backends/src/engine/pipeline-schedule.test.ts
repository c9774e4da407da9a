import { describe, expect, it } from 'vitest';

import { inferenceSchedule, trainSchedule, type Instruction } from './pipeline-schedule.js';

const sizes = Array.from({ length: 8 }, (_, s) => s + 1).flatMap((stages) =>
  Array.from({ length: 16 }, (_, m) => ({ stages, microbatches: m + 1 })),
);

/** Runs all stages with sends that wait for their receive; throws when nobody can go on. */
function rendezvous(stages: readonly (readonly Instruction[])[]): void {
  const at = stages.map(() => 0);
  const partner: Record<string, [string, number]> = {
    sendActivation: ['recvActivation', 1],
    sendGrad: ['recvGrad', -1],
  };
  const now = (s: number) => stages[s]?.[at[s]!];
  /** Whether the stage's next instruction could be done. */
  const advance = (s: number): boolean => {
    const mine = now(s);
    if (!mine) return false;
    const [step, direction] = partner[mine.step] ?? ['', 0];
    if (direction !== 0) {
      const theirs = now(s + direction);
      if (theirs?.step !== step || theirs.microbatch !== mine.microbatch) return false;
      at[s + direction]!++;
    } else if (mine.step !== 'forward' && mine.step !== 'backward') return false;
    at[s]!++;
    return true;
  };
  while (stages.some((_, s) => advance(s))) continue;
  stages.forEach((list, s) => {
    if (at[s] !== list.length) throw new Error(`stage ${s} waits at ${JSON.stringify(now(s))}`);
  });
}

describe.each([
  ['trainSchedule', trainSchedule, true],
  ['inferenceSchedule', inferenceSchedule, false],
] as const)('%s for up to 8 stages and 16 microbatches', (_, schedule, train) => {
  const all = sizes.map(({ stages, microbatches }) => ({
    stages,
    microbatches,
    plans: Array.from({ length: stages }, (_, s) => schedule(s, stages, microbatches)),
  }));

  it('takes as many slots as it should, with one computation in each', () => {
    for (const { stages, microbatches, plans } of all)
      for (const plan of plans) {
        expect(plan).toHaveLength((train ? 2 : 1) * (microbatches + stages - 1));
        for (const slot of plan)
          expect(
            slot.filter(({ step }) => step === 'forward' || step === 'backward').length,
          ).toBeLessThanOrEqual(1);
      }
  });

  it('does every step of every microbatch once, in order of the steps and of the microbatches', () => {
    for (const { stages, microbatches, plans } of all)
      plans.forEach((plan, stage) => {
        const steps = [
          ...(stage > 0 ? ['recvActivation'] : []),
          'forward',
          ...(stage < stages - 1 ? ['sendActivation'] : []),
          ...(train && stage < stages - 1 ? ['recvGrad'] : []),
          ...(train ? ['backward'] : []),
          ...(train && stage > 0 ? ['sendGrad'] : []),
        ];
        const flat = plan.flat();
        for (let m = 0; m < microbatches; m++)
          expect(flat.filter((i) => i.microbatch === m).map((i) => i.step)).toEqual(steps);
        for (const step of steps)
          expect(flat.filter((i) => i.step === step).map((i) => i.microbatch)).toEqual(
            Array.from({ length: microbatches }, (_, m) => m),
          );
        expect(flat).toHaveLength(steps.length * microbatches);
      });
  });

  it('needs nothing before the slot after the one that makes it', () => {
    for (const { microbatches, plans } of all) {
      const slotOf = (stage: number, step: string, m: number) =>
        plans[stage]!.findIndex((slot) => slot.some((i) => i.step === step && i.microbatch === m));
      for (let stage = 1; stage < plans.length; stage++)
        for (let m = 0; m < microbatches; m++) {
          expect(slotOf(stage, 'forward', m)).toBeGreaterThan(slotOf(stage - 1, 'forward', m));
          if (train)
            expect(slotOf(stage - 1, 'backward', m)).toBeGreaterThan(slotOf(stage, 'backward', m));
        }
    }
  });

  it('gets through with sends that block', () => {
    for (const { plans } of all) rendezvous(plans.map((plan) => plan.flat()));
  });

  it('keeps at most S − s microbatches in flight', () => {
    for (const { stages, microbatches, plans } of all)
      plans.forEach((plan, stage) => {
        let flying = 0;
        let most = 0;
        for (const { step } of plan.flat()) {
          if (step === 'forward') flying++;
          if (step === 'backward') flying--;
          most = Math.max(most, flying);
        }
        if (train) expect(most).toBe(Math.min(stages - stage, microbatches));
      });
  });
});

describe('rendezvous', () => {
  it('finds a deadlock', () => {
    const send: Instruction = { step: 'sendActivation', microbatch: 0 };
    const back: Instruction = { step: 'sendGrad', microbatch: 0 };
    expect(() => {
      rendezvous([
        [send, { step: 'recvGrad', microbatch: 0 }],
        [back, { step: 'recvActivation', microbatch: 0 }],
      ]);
    }).toThrow(/stage 0 waits/);
  });
});
