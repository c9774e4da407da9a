/**
 * `real profile ALGO` (reference: A7): the algorithm over mock records, once for every combination of options in `grid`, in
 * one process and on one opened device. `setups.jsonl` has a line per setup: seconds and tokens per second of every call.
 */
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { ConfigError, RealError } from '@realhf/api';
import { z } from 'zod';

import { defaultTrialName } from '../log/run-directory.js';
import { defineCommand, type Command, type RunContext } from '../options/command.js';
import { algorithmGraph } from '../plan/algorithm.js';
import { algorithmNames, algorithmOf, unboundSchema, type AlgorithmName } from '../plan/options.js';
import { openOps, type OpenedOps } from './open-ops.js';
import { setupsOf, withSetup, type Setup } from './profile-grid.js';
import { runSpec } from './run-spec.js';
import { makeSpec } from './specs.js';

const profileShape = {
  grid: z
    .array(z.string())
    .default([])
    .describe(
      'options to vary, all combinations: [dataset.train_bs_n_seqs=8|16,actor_train.n_mbs=1|2]',
    ),
  profile_steps: z.number().int().positive().default(3).describe('measured steps of a setup'),
  warmup_steps: z
    .number()
    .int()
    .nonnegative()
    .default(1)
    .describe('steps before them: kernels are compiled'),
};
const own = z.object(profileShape).loose();
const frame = z.object({
  experiment_name: z.string(),
  trial_name: z.string().nullable(),
  fileroot: z.string(),
  matmul_precision: z.enum(['f32', 'f16']),
  deterministic: z.boolean(),
  n_nodes: z.number(),
  n_gpus_per_node: z.number(),
  dataset: z.object({ train_bs_n_seqs: z.number() }),
});
const step = z.object({
  step: z.number(),
  stepSeconds: z.number(),
  seconds: z.record(z.string(), z.number()),
  tokens: z.record(z.string(), z.number()),
});

/** What a line of setups.jsonl says of a setup that ran. */
export interface Measured {
  readonly stepSeconds: number;
  /** Means over measured steps, by call. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly tokensPerSecond: Readonly<Record<string, number>>;
}

/** Runs all setups and returns the path of setups.jsonl; one that fails is noted there and in the error output. */
export async function runProfile(
  algorithm: AlgorithmName,
  config: unknown,
  context: RunContext,
  opened?: OpenedOps,
): Promise<string> {
  const { grid, profile_steps: steps, warmup_steps: warmup, ...options } = own.parse(config);
  const { trial_name, ...f } = frame.parse(options);
  const root = resolve(f.fileroot, f.experiment_name, trial_name ?? defaultTrialName(new Date()));
  const setups = setupsOf(grid, options);
  mkdirSync(root, { recursive: true });
  const path = join(root, 'setups.jsonl');
  writeFileSync(path, '', { flag: 'wx' });
  const one = f.n_nodes * f.n_gpus_per_node === 1;
  const device = opened ?? (one ? await openOps({}, f) : undefined);
  try {
    for (const [i, setup] of setups.entries()) {
      if (context.signal.aborted) break;
      context.stderr.write(`setup ${i + 1} of ${setups.length}: ${JSON.stringify(setup)}\n`);
      const name = `setup-${String(i).padStart(3, '0')}`;
      const run = { algorithm, options, setup, root, name, steps, warmup };
      const line = await measured(run, context, device).catch((error: unknown) => {
        if (!RealError.is(error) && !(error instanceof z.ZodError)) throw error;
        const message = error.message.replace(/\s*\n\s*/g, ' ');
        context.stderr.write(`setup ${i + 1} failed: ${message}\n`);
        return { error: message };
      });
      appendFileSync(path, `${JSON.stringify({ algorithm, setup, ...line })}\n`);
    }
  } finally {
    if (!opened) device?.ops.destroy();
  }
  context.stdout.write(`${path}\n`);
  return path;
}

interface OneSetup {
  readonly algorithm: AlgorithmName;
  readonly options: unknown;
  readonly setup: Setup;
  readonly root: string;
  readonly name: string;
  readonly steps: number;
  readonly warmup: number;
}

async function measured(o: OneSetup, context: RunContext, device?: OpenedOps): Promise<Measured> {
  const config = withSetup(o.options, o.setup);
  const nSteps = o.steps + o.warmup;
  const n = frame.parse(config).dataset.train_bs_n_seqs * nSteps;
  const data = join(o.root, `${o.name}.jsonl`);
  writeFileSync(data, mockRecords(o.algorithm, n));
  const prompts = algorithmGraph(o.algorithm, 1).datasetKeys.includes('packed_prompts');
  const spec = await makeSpec(
    o.algorithm,
    withSetup(config, {
      [prompts ? 'dataset.path' : 'dataset.train_path']: data,
      // Every sequence has the longest length: what is measured does not depend on texts.
      'dataset.pad_to_max_length': true,
      'exp_ctrl.benchmark_steps': nSteps,
      fileroot: o.root,
      experiment_name: 'runs',
      trial_name: o.name,
      recover_mode: 'disabled',
    }),
  );
  const run = await runSpec(o.algorithm, spec, context, device);
  rmSync(join(run.path, 'checkpoints'), { recursive: true, force: true });
  const lines = readFileSync(join(run.path, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return summary(lines.map((l) => step.parse(JSON.parse(l))).slice(o.warmup));
}

function summary(steps: readonly z.infer<typeof step>[]): Measured {
  if (steps.length === 0) throw new ConfigError('the run was stopped before a measured step');
  const sum = (of: (s: z.infer<typeof step>) => number) => steps.reduce((a, s) => a + of(s), 0);
  const calls = Object.keys(steps[0]!.seconds);
  const byCall = (of: (call: string) => number) =>
    Object.fromEntries(calls.map((call) => [call, of(call)]));
  const seconds = (call: string) => sum((s) => s.seconds[call] ?? 0);
  return {
    stepSeconds: sum((s) => s.stepSeconds) / steps.length,
    seconds: byCall((call) => seconds(call) / steps.length),
    tokensPerSecond: byCall((call) => sum((s) => s.tokens[call] ?? 0) / seconds(call)),
  };
}

/** Of one letter each: padding makes them long. */
function mockRecords(algorithm: AlgorithmName, n: number): string {
  const keys = algorithmGraph(algorithm, 1).datasetKeys;
  const rest = keys.includes('packed_prompts')
    ? {}
    : keys.includes('prompt_mask')
      ? { answer: 'a' }
      : { pos_answers: ['a'], neg_answers: ['a'] };
  return Array.from(
    { length: n },
    (_, i) => `${JSON.stringify({ id: `mock-${i}`, prompt: 'a', ...rest })}\n`,
  ).join('');
}

const examples = [
  'real profile ppo grid=[dataset.train_bs_n_seqs=8|16,actor_train.n_mbs=1|2] actor.path=./sft ref.path=./sft critic.path=./rw rew.path=./rw ppo.gen.max_new_tokens=128 ppo.gen.min_new_tokens=128',
];

/** The schema of an algorithm's profile: its own options, none of them required, and the profile's. */
export function profileSchema(algorithm: AlgorithmName) {
  return z.object({ ...profileShape, ...unboundSchema(algorithm, 'profile').shape });
}

function profileCommandOf(word: string): Command {
  const algorithm = algorithmOf(word);
  if (algorithm === 'gen') throw new ConfigError("profile has no 'gen'; take sft, ppo, grpo, …");
  return defineCommand({
    name: `profile ${algorithm}`,
    summary: `measures 'real ${algorithm}' over mock records, for combinations of options`,
    schema: profileSchema(algorithm),
    examples: examples.filter((e) => e.includes(`profile ${algorithm} `)),
    run: async (config, context) => {
      await runProfile(algorithm, config, context);
    },
  });
}

export const profileCommand = defineCommand({
  name: 'profile',
  summary: 'seconds and tokens per second of every call, for combinations of options',
  schema: z.object({
    algorithm: z
      .enum(algorithmNames)
      .describe('the first word; real profile ALGORITHM --help lists its options'),
  }),
  choose: profileCommandOf,
  examples,
  run({ algorithm }) {
    return Promise.reject(
      new ConfigError(`the algorithm is a word of its own: real profile ${algorithm} key=value…`),
    );
  },
});
