/**
 * Pipeline schedules as plans. Training is 1F1B (Narayanan et al., arXiv 1806.03377): stage s of S runs the forward of
 * microbatch m in slot s + 2m and its backward in slot 2S − 1 − s + 2m, so at most S − s microbatches are in flight and
 * M take 2(M + S − 1) slots. What a slot makes is needed by a neighbour in the next one, so transfers stand at the end
 * of slots. There the pairs that exchange are disjoint; the lower stage sends first, so that sends may block.
 */
import type { StagePass } from '@realhf/api';

/** A step of a pass. */
export type PipelineStep = Exclude<keyof StagePass, 'release'>;

/** One step of a pipeline stage's schedule. */
export interface Instruction {
  readonly step: PipelineStep;
  readonly microbatch: number;
}

/** Instructions of one stage by slot, 2(M + S − 1) of them. */
export function trainSchedule(
  stage: number,
  stages: number,
  microbatches: number,
): Instruction[][] {
  const slots: Instruction[][] = [];
  /** Microbatch whose forward or backward this stage runs in a slot, if the slot is of that kind and there is one. */
  const forwardIn = (slot: number) => half(slot - stage, microbatches);
  const backwardIn = (slot: number) => half(slot + stage + 1 - 2 * stages, microbatches);
  for (let slot = 0; slot < 2 * (microbatches + stages - 1); slot++) {
    const out: Instruction[] = [];
    const add = (step: PipelineStep, microbatch: number | undefined) => {
      if (microbatch !== undefined) out.push({ step, microbatch });
    };
    add('forward', forwardIn(slot));
    add('backward', backwardIn(slot));
    // Slots of a stage alternate: after a forward it exchanges with the next stage, after a backward with the previous.
    if ((slot - stage) % 2 === 0) {
      if (stage < stages - 1) {
        add('sendActivation', forwardIn(slot));
        add('recvGrad', backwardIn(slot + 1));
      }
    } else if (stage > 0) {
      add('recvActivation', forwardIn(slot + 1));
      add('sendGrad', backwardIn(slot));
    }
    slots.push(out);
  }
  return slots;
}

/** Forwards only: microbatch m in slot s + m, M + S − 1 slots. */
export function inferenceSchedule(
  stage: number,
  stages: number,
  microbatches: number,
): Instruction[][] {
  return Array.from({ length: microbatches + stages - 1 }, (_, slot) => {
    const out: Instruction[] = [];
    const here = (m: number) => m >= 0 && m < microbatches;
    const now = slot - stage;
    if (here(now)) {
      out.push({ step: 'forward', microbatch: now });
      if (stage < stages - 1) out.push({ step: 'sendActivation', microbatch: now });
    }
    if (stage > 0 && here(now + 1)) out.push({ step: 'recvActivation', microbatch: now + 1 });
    return out;
  });
}

/** n / 2 where that is a microbatch. */
function half(n: number, microbatches: number): number | undefined {
  return n % 2 === 0 && n >= 0 && n / 2 < microbatches ? n / 2 : undefined;
}
