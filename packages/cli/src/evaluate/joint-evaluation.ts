/** What evaluates a run by several of its models, here or on worker processes. */
import type { Model, SequenceSample, Stats } from '@realhf/api';

/** `model`: by role. Gives stats by model key; changes nothing. */
export type JointEvaluation = (
  model: (role: string) => Model,
  batches: readonly SequenceSample[],
) => Promise<Record<string, Stats>>;
