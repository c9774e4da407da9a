/**
 * A command of `real`: a name, a schema of its options and a function. The frame (parsing, help, errors, exit
 * codes) knows nothing else of it. `run` is a method on purpose: a list of commands mixes schemas.
 */
import type { z } from 'zod';

/** Where text goes; process.stdout fits. */
export interface Output {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** What a command gets besides its options. */
export interface RunContext {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by the first SIGINT or SIGTERM: finish the step, save, return. A second one ends the process. */
  readonly signal: AbortSignal;
  /** Dotted names of the options that were given, by config file or on the command line. */
  readonly given: ReadonlySet<string>;
  /** Script of this program and its first arguments: `worker …` after them is a worker. Absent: no runs on many devices. */
  readonly entry?: readonly string[];
  /** Said when a signal ended a run early; default: which options resume it. */
  readonly resumeHint?: string;
}

/** A subcommand: options as a schema, and what it does with them. */
export interface Command<S extends z.ZodType = z.ZodType> {
  readonly name: string;
  /** One line for `real --help`. */
  readonly summary: string;
  /** An object schema: every leaf is an option and has a description. */
  readonly schema: S;
  /**
   * Options that bare words fill, in order: `real verify DIR` is `real verify dir=DIR` with ['dir']. The last may be
   * `name...`: a list, of all further words.
   */
  readonly positional?: readonly string[];
  /** The command that a first bare word stands for: `real plan ppo …`. Throws ConfigError on another word. */
  choose?(word: string): Command | Promise<Command>;
  /** Options that may also be written `--name value`. */
  readonly flags?: readonly string[];
  /** Command lines shown at the end of `--help`. */
  readonly examples?: readonly string[];
  run(config: z.output<S>, context: RunContext): Promise<void>;
}

/** Infers the type of `config` in `run` from `schema`. */
export function defineCommand<S extends z.ZodType>(command: Command<S>): Command<S> {
  return command;
}
