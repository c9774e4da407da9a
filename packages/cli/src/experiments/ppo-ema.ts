/** `real ppo-ema`: PPO whose reference is a moving average of the actor. */
import { defineCommand, type RunContext } from '../options/command.js';
import { ppoEmaSchema, type PpoEmaConfig } from '../options/schemas/ppo-ema.js';
import type { OpenedOps } from './open-ops.js';
import { ppoSpec } from './ppo.js';
import { runSpec } from './run-spec.js';
import type { ExperimentResult } from './run-steps.js';
import type { ExperimentSpec } from './spec.js';

/** PPO's six calls, the reference updated after actor_train. */
export function ppoEmaSpec(config: PpoEmaConfig): Promise<ExperimentSpec> {
  return ppoSpec(config, { refEmaEta: config.ref_ema_eta });
}

export async function runPpoEma(
  config: PpoEmaConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<ExperimentResult> {
  return runSpec('ppo-ema', await ppoEmaSpec(config), context, opened);
}

export const ppoEmaCommand = defineCommand({
  name: 'ppo-ema',
  summary: 'PPO whose reference follows the actor as a moving average',
  schema: ppoEmaSchema,
  examples: [
    'real ppo-ema experiment_name=my-ppo actor.path=./sft ref.path=./sft critic.path=./rw rew.path=./rw dataset.path=prompts.jsonl dataset.train_bs_n_seqs=64 ref_ema_eta=0.001 ppo.gen.max_new_tokens=128 ppo.gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runPpoEma(config, context);
  },
});
