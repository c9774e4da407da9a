/** The executor of pipeline schedules: a loop over instructions. */
import type { ForwardOutput, HeadGrad, StagePass } from '@realhf/api';

import type { Instruction } from './pipeline-schedule.js';

/**
 * Runs one stage's part. `open` makes the pass of a microbatch when its first step comes; `head` gets the outputs of the
 * last stage and gives their gradients. A pass is released after its last step, and all of them on an error.
 */
export async function runSchedule(
  slots: readonly (readonly Instruction[])[],
  open: (microbatch: number) => StagePass,
  head: (microbatch: number, output: ForwardOutput) => HeadGrad | undefined,
): Promise<void> {
  const plan = slots.flat();
  const left = new Map<number, number>();
  for (const { microbatch } of plan) left.set(microbatch, (left.get(microbatch) ?? 0) + 1);
  const passes = new Map<number, StagePass>();
  const grads = new Map<number, HeadGrad>();
  try {
    for (const { step, microbatch } of plan) {
      const pass = passes.get(microbatch) ?? open(microbatch);
      passes.set(microbatch, pass);
      if (step === 'forward') {
        const output = await pass.forward();
        const grad = output && head(microbatch, output);
        if (grad) grads.set(microbatch, grad);
      } else if (step === 'backward') {
        await pass.backward(grads.get(microbatch));
        grads.delete(microbatch);
      } else await pass[step]();
      const remaining = left.get(microbatch)! - 1;
      left.set(microbatch, remaining);
      if (remaining > 0) continue;
      pass.release();
      passes.delete(microbatch);
    }
  } finally {
    for (const pass of passes.values()) pass.release();
  }
}
