/**
 * The frame of `real`: finds the command, parses, runs, and turns every failure into one line on stderr and an
 * exit code: 2 for usage (ConfigError), 1 for run-time, 130 when a signal ended the run. It never exits itself.
 */
import { ConfigError, RealError } from '@realhf/api';
import { stringify } from 'yaml';
import { withDatasetType } from './data/dataset-types.js';
import type { Command, Output, RunContext } from './options/command.js';
import { commandHelp, topHelp } from './options/help.js';
import { parseOptions, peekOption, splitArguments } from './options/parse.js';
import { didYouMean } from './options/suggest.js';
import { loadUserModule } from './user-code/load.js';

/** What a command may touch of its process. */
export interface CliEnvironment {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  readonly version: string;
  /** Script of this program and its first arguments: `worker …` after them is a worker (`workerMain`). */
  readonly entry?: readonly string[];
}

async function dispatch(
  commands: readonly Command[],
  words: readonly string[],
  env: CliEnvironment,
): Promise<void> {
  const [name, ...rest] = words;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    env.stdout.write(topHelp(commands, env.version));
    return;
  }
  if (name === '--version' || name === '-v') {
    env.stdout.write(`${env.version}\n`);
    return;
  }
  const found = commands.find((c) => c.name === name);
  if (!found) {
    const names = commands.map((c) => c.name);
    const near = didYouMean(name, names);
    throw new ConfigError(
      `unknown command '${name}'${near || `; commands are ${names.join(', ')} (real --help)`}`,
    );
  }
  const chosen = /^[^-=][^=]*$/.test(rest[0] ?? '') ? await found.choose?.(rest[0]!) : undefined;
  const base = chosen ?? found;
  const args = splitArguments(chosen ? rest.slice(1) : rest, base.positional, base.flags);
  // Before the options are read: a file of the user's may add some.
  for (const module of listed(peekOption(base.schema, args, 'user_modules')))
    await loadUserModule(module);
  const type = peekOption(base.schema, args, 'dataset.type');
  const command = typeof type === 'string' ? withDatasetType(base, type) : base;
  if (args.help) {
    env.stdout.write(commandHelp(command, Math.min(env.stdout.columns ?? 120, 160)));
    return;
  }
  const { config, given } = parseOptions(command.schema, args);
  if (args.printConfig) {
    env.stdout.write(stringify(config));
    return;
  }
  const context: RunContext = {
    stdout: env.stdout,
    stderr: env.stderr,
    env: env.env,
    signal: env.signal,
    given,
    ...(env.entry === undefined ? {} : { entry: env.entry }),
  };
  await command.run(config, context);
}

const listed = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((v) => typeof v === 'string') : [];

function describe(error: unknown, debug: boolean): string {
  if (debug && error instanceof Error) {
    const cause = error.cause instanceof Error ? `\ncaused by ${error.cause.stack ?? ''}` : '';
    return `${error.stack ?? error.message}${cause}`;
  }
  const message = error instanceof Error ? error.message : String(error);
  const line = message.replace(/\s*\n\s*/g, ' ');
  return RealError.is(error) ? line : `${line} (unexpected; REAL_DEBUG=1 prints the stack)`;
}

/** Runs one command line and returns the exit code. Never throws. */
export async function runCli(
  commands: readonly Command[],
  words: readonly string[],
  env: CliEnvironment,
): Promise<number> {
  try {
    await dispatch(commands, words, env);
    return env.signal.aborted ? 130 : 0;
  } catch (error) {
    env.stderr.write(`real: ${describe(error, env.env.REAL_DEBUG === '1')}\n`);
    if (env.signal.aborted) return 130;
    return RealError.is(error) && error.name === 'ConfigError' ? 2 : 1;
  }
}
