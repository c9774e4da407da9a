/**
 * `env.*`: an environment in a user's file that the actor talks to while it generates. The file exports `reset` and
 * `step`, of one conversation each, which run on worker threads.
 */
import { interfaces, RealError, type MFCDef } from '@realhf/api';
import { EnvironmentInterface, type Environment, type EnvironmentStep } from '@realhf/model';
import { z } from 'zod';

import type { TypeOptions } from '../data/dataset-types.js';
import type { PromptOptions } from '../options/schemas/dataset.js';
import { userFile } from '../user-code/load.js';
import { ThreadPool } from '../user-code/thread-pool.js';
import { datasetPlace, recordsOf, type recordLookup } from './record-lookup.js';

const positive = (value: number, what: string) =>
  z.number().int().positive().default(value).describe(what);

export const envSchema = z.object({
  fn: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe('file that exports reset and step: the actor talks to it while it generates'),
  max_turns: positive(4, 'turns of the actor at most; gen.max_new_tokens is of one turn'),
  max_observation_tokens: positive(32, 'what the environment says is cut after so many tokens'),
  timeout_s: z.number().positive().default(60).describe('of one call, in seconds'),
  threads: positive(1, 'worker threads that share the conversations'),
});
type EnvOptions = z.infer<typeof envSchema>;

interface WithEnv {
  readonly env: EnvOptions;
  readonly dataset: Pick<PromptOptions, 'path' | 'fields'> & Partial<TypeOptions>;
}

/** Tokens that an answer has at most. */
export function conversationTokens({ env }: Pick<WithEnv, 'env'>, newTokens: number): number {
  if (env.fn === null) return newTokens;
  return env.max_turns * newTokens + (env.max_turns - 1) * env.max_observation_tokens;
}

/** The actor's calls around the environment, if there is one. Throws ConfigError on a file that is not there. */
export function withEnvironment(mfcs: readonly MFCDef[], { env, dataset }: WithEnv): MFCDef[] {
  if (env.fn === null) return [...mfcs];
  const file = userFile(env.fn, 'env.fn');
  return mfcs.map((mfc) => {
    if (mfc.model.role !== 'actor') return mfc;
    const { type_, args } = mfc.interfaceImpl;
    const environment: z.input<typeof argsSchema> = {
      ...{ inner: type_, file, env, dataset: datasetPlace.parse(dataset) },
    };
    return { ...mfc, interfaceImpl: { type_: 'environment', args: { ...args, environment } } };
  });
}

const argsSchema = z.object({
  /** Name of the interface around which it is. */
  inner: z.string(),
  file: z.string(),
  env: envSchema,
  dataset: datasetPlace,
});

/** The factory of `environment`: the arguments of the inner interface and `environment`. */
export function makeEnvironment({
  environment,
  ...args
}: Readonly<Record<string, unknown>>): EnvironmentInterface {
  const { inner, file, env, dataset } = argsSchema.parse(environment);
  return new EnvironmentInterface(interfaces.get(inner)(args), {
    environment: fileEnvironment(file, env, recordsOf(dataset)),
    maxTurns: env.max_turns,
    maxObservationTokens: env.max_observation_tokens,
  });
}

/** Throws RealError that names the file and the id. */
export function fileEnvironment(
  file: string,
  { threads, timeout_s: timeout }: EnvOptions,
  records: ReturnType<typeof recordLookup>,
): Environment {
  const pool = new ThreadPool({
    ...{ file, threads, timeoutMs: timeout * 1000 },
    names: ['reset', 'step'],
  });
  const call = async (name: string, id: string, argument: unknown): Promise<unknown> => {
    try {
      return await pool.call(name, argument);
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause);
      throw new RealError(`${name} of id '${id}': ${text}`, { cause });
    }
  };
  return {
    async reset(ids, prompts) {
      const of = await records(ids);
      return Promise.all(
        ids.map((id, i) => call('reset', id, { id, prompt: prompts[i]!, record: of[i]! })),
      );
    },
    step(turns, turn) {
      return Promise.all(
        turns.map(async ({ id, state, text }): Promise<EnvironmentStep> => {
          const parsed = stepSchema.safeParse(await call('step', id, { id, state, text, turn }));
          if (parsed.success) return parsed.data;
          throw new RealError(
            `${file}: step of id '${id}' must return {state?, observation?: string, done: boolean}: ${parsed.error.issues[0]!.message}`,
          );
        }),
      );
    },
  };
}

const stepSchema = z.object({
  state: z.unknown().default(null),
  observation: z.string().default(''),
  done: z.boolean(),
});
