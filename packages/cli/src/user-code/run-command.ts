/**
 * `real run FILE key=value …`: an experiment that a user's file registers. `FILE:NAME` picks one of several. The file's
 * schema gives the options, their help and their checks, like those of a built-in command.
 */
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

import { runSpec } from '../experiments/run-spec.js';
import { defineCommand, type Command } from '../options/command.js';
import type { CommonConfig } from '../options/schemas/common.js';
import { experimentNames, userCommandPrefix, userExperiment } from './experiments.js';
import { loadUserModule, userFile } from './load.js';

/** What a file registered when it was loaded: a second command line in one process loads it no more. */
const registered = new Map<string, readonly string[]>();

async function experimentsOf(file: string): Promise<readonly string[]> {
  const known = registered.get(file);
  if (known) return known;
  const before = new Set(experimentNames());
  await loadUserModule(file, 'real run');
  const names = experimentNames().filter((n) => !before.has(n));
  registered.set(file, names);
  return names;
}

async function choose(word: string): Promise<Command> {
  const [, path = word, wanted] = /^(.+\.[cm]?[jt]s):([\w.-]+)$/.exec(word) ?? [];
  const file = userFile(path, 'real run');
  const names = await experimentsOf(file);
  if (names.length === 0)
    throw new ConfigError(
      `${file} registers no experiment; call registerExperiment of @realhf/cli in it`,
    );
  if (wanted === undefined && names.length > 1)
    throw new ConfigError(
      `${file} registers ${names.join(', ')}; say which: real run ${path}:${names[0]!}`,
    );
  const name = wanted ?? names[0]!;
  if (!names.includes(name))
    throw new ConfigError(`${file} registers no '${name}'; it registers ${names.join(', ')}`);
  const experiment = userExperiment(name);
  const { summary, schema, examples } = experiment;
  return defineCommand({
    name: `run ${word}`,
    summary,
    schema,
    ...(examples ? { examples } : {}),
    run: async (config, context) => {
      const common = config as CommonConfig;
      // Workers import the file before they look for the experiment.
      const options = { ...common, user_modules: [file, ...common.user_modules] };
      await runSpec(userCommandPrefix + name, await experiment.spec(options), context);
    },
  });
}

export const runCommand = defineCommand({
  name: 'run',
  summary: 'an experiment of your own: real run ./my-experiment.mts key=value …',
  schema: z.object({}),
  choose,
  examples: [
    'real run ./my-experiment.mts --help',
    'real run ./my-experiment.mts experiment_name=mine',
  ],
  run: () =>
    Promise.reject(
      new ConfigError('which file? real run ./my-experiment.mts key=value …, see real run --help'),
    ),
});
