/**
 * Experiment control (reference: S2): how long to train, when to save and to evaluate. Any of a trigger's frequencies
 * fires it; epochs and steps count from the start of training, so a resumed run fires where the whole run would have.
 */
import { z } from 'zod';

const every = (what: string) =>
  z.number().int().positive().nullable().default(null).describe(`${what}; null is never`);
const everySecs = (what: string) =>
  z.number().positive().nullable().default(null).describe(`${what}; null is never`);

/** Schema of the options that say how long a run is, and when it saves and evaluates. */
export const expControlSchema = z.object({
  total_train_epochs: z.number().int().positive().default(1).describe('passes over the dataset'),
  save_freq_epochs: every('save after every so many epochs'),
  save_freq_steps: every('save after every so many steps'),
  save_freq_secs: everySecs('save when so many seconds have passed since the last such save'),
  eval_freq_epochs: every('evaluate after every so many epochs'),
  eval_freq_steps: every('evaluate after every so many steps'),
  eval_freq_secs: everySecs('evaluate when so many seconds have passed since the last such time'),
  benchmark_steps: z
    .number()
    .int()
    .positive()
    .nullable()
    .default(null)
    .describe('stop after so many steps in total; null is never'),
});

/** How long a run is, and when it saves and evaluates. */
export type ExpControl = z.infer<typeof expControlSchema>;

/** Every so many epochs, steps or seconds; null: not by that measure. */
export interface Frequencies {
  readonly epochs: number | null;
  readonly steps: number | null;
  readonly secs: number | null;
}

/** How often checkpoints are written. */
export function saveFrequencies(c: ExpControl): Frequencies {
  return { epochs: c.save_freq_epochs, steps: c.save_freq_steps, secs: c.save_freq_secs };
}

/** How often the model is evaluated. */
export function evalFrequencies(c: ExpControl): Frequencies {
  return { epochs: c.eval_freq_epochs, steps: c.eval_freq_steps, secs: c.eval_freq_secs };
}

/** A step that has just ended. */
export interface StepEdge {
  /** Steps done since the start of training, this one included. */
  readonly stepsDone: number;
  /** Epochs done if this step ended one, else undefined. */
  readonly epochsDone?: number;
  /** Clock in seconds. */
  readonly now: number;
}

/** Fires on any of the frequencies. Only the seconds have a memory. */
export class Trigger {
  private readonly frequencies: Frequencies;
  private last: number;

  /** `now`: the clock in seconds at the start of the run. */
  constructor(frequencies: Frequencies, now: number) {
    this.frequencies = frequencies;
    this.last = now;
  }

  /** Call once per step; a firing by seconds restarts their count. */
  check(edge: StepEdge): boolean {
    const { epochs, steps, secs } = this.frequencies;
    const byTime = secs !== null && edge.now - this.last >= secs;
    if (byTime) this.last = edge.now;
    return (
      byTime ||
      (steps !== null && edge.stepsDone % steps === 0) ||
      (epochs !== null && edge.epochsDone !== undefined && edge.epochsDone % epochs === 0)
    );
  }

  /** Seconds since the last firing by seconds; with `restore`, time the run was down does not count. */
  state(now: number): number {
    return now - this.last;
  }
  restore(elapsed: number, now: number): void {
    this.last = now - elapsed;
  }
}
