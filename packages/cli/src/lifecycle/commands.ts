/** `real ps`, `real pause`, `real resume`, `real stop`, `real logs`: runs that go on elsewhere, through their directories. */
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

import { defineCommand, type Command, type RunContext } from '../options/command.js';
import { findRun, findRuns } from './find-run.js';
import { isLive, sendCommand, type RunCommand } from './run-status.js';
import { followLogs, tailLogs } from './run-logs.js';

const fileroot = z.string().min(1).default('real-runs').describe('directory of all runs');
const runName = z.string().min(1).describe('EXPERIMENT or EXPERIMENT/TRIAL');

export const psCommand = defineCommand({
  name: 'ps',
  summary: 'lists runs and their workers with their states',
  schema: z.object({
    fileroot,
    all: z.boolean().default(false).describe('also runs that have ended'),
  }),
  flags: ['fileroot', 'all'],
  examples: ['real ps', 'real ps --all true'],
  run: (config, context) => {
    const runs = findRuns(config.fileroot).filter((r) => config.all || isLive(r.status.state));
    for (const { name, status } of runs) {
      const why = status.error === undefined ? '' : `  ${status.error}`;
      context.stdout.write(
        `${name}  ${status.state}  step ${status.step}/${status.steps}  since ${status.since}${why}\n`,
      );
      for (const w of status.workers)
        context.stdout.write(`  ${w.name}  ${w.state}  process ${w.pid}\n`);
    }
    if (runs.length === 0) context.stdout.write('no runs\n');
    return Promise.resolve();
  },
});

function commandOf(name: RunCommand, summary: string): Command {
  const schema = z.object({ run: runName, fileroot });
  return defineCommand({
    name,
    summary,
    schema,
    positional: ['run'],
    flags: ['fileroot'],
    examples: [`real ${name} my-ppo`],
    run: (config: z.output<typeof schema>, context: RunContext) => {
      const found = findRun(config.fileroot, config.run);
      const { state, step, steps } = found.status;
      if (!isLive(state))
        throw new ConfigError(`run ${found.name} is ${state}, nothing is there to ${name}`);
      sendCommand(found.path, name);
      context.stdout.write(
        `${found.name}: ${name} after the step that runs (${step} of ${steps} done)\n`,
      );
      return Promise.resolve();
    },
  });
}

export const pauseCommand = commandOf('pause', 'holds a run after its current step');
export const resumeCommand = commandOf('resume', 'lets a paused run go on');
export const stopCommand = commandOf('stop', 'ends a run after its current step, saved');

export const logsCommand = defineCommand({
  name: 'logs',
  summary: 'last log lines of a run and its workers, merged by time',
  schema: z.object({
    run: runName,
    fileroot,
    lines: z.number().int().positive().default(20).describe('last lines shown'),
    follow: z.boolean().default(false).describe('go on showing new lines until interrupted'),
  }),
  positional: ['run'],
  flags: ['fileroot', 'lines', 'follow'],
  examples: ['real logs my-ppo', 'real logs my-ppo --follow true'],
  run: async (config, context) => {
    const { path } = findRun(config.fileroot, config.run);
    for (const line of tailLogs(path, config.lines)) context.stdout.write(`${line}\n`);
    if (config.follow)
      await followLogs(path, context.signal, (line) => context.stdout.write(`${line}\n`));
  },
});
