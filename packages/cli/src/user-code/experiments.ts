/**
 * Experiments of users by name. A user's file registers them, `real run FILE` runs them, and workers find them again by
 * name after importing the same file.
 */
import { ConfigError, createRegistry, type Registry } from '@realhf/api';
import { z } from 'zod';

import type { ExperimentSpec } from '../experiments/spec.js';

/** An experiment that a file registers for `real run`. */
export interface UserExperiment<S extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** One line for `--help`. */
  readonly summary: string;
  /** An object schema: every leaf is an option and has a description. `commonShape` must be part of it. */
  readonly schema: S;
  /** Command lines shown at the end of `--help`. */
  readonly examples?: readonly string[];
  /** Master and workers call it with the same options. Throws ConfigError. */
  spec(config: z.output<S>): Promise<ExperimentSpec>;
}

/** Before the name by which workers know a user's experiment, apart from the built-in ones. */
export const userCommandPrefix = 'run ';

const experiments: Registry<UserExperiment> = createRegistry('experiment');

/** Throws ConfigError if the name is taken, or the options lack what every run has. */
export function registerExperiment<S extends z.ZodType>(experiment: UserExperiment<S>): void {
  const { name, schema } = experiment;
  if (!(schema instanceof z.ZodObject) || !('user_modules' in schema.shape))
    throw new ConfigError(
      `experiment '${name}' needs an object schema with the options of every run; spread commonShape of @realhf/cli into it`,
    );
  experiments.register(name, experiment);
}

/** Names so far, sorted. */
export function experimentNames(): string[] {
  return experiments.names();
}

/** Throws ConfigError that lists what is known. */
export function userExperiment(name: string): UserExperiment {
  return experiments.get(name);
}
