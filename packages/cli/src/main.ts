/** Entry of the `real` command: process streams, signals and the exit code around runCli. */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { commands } from './commands.js';
import * as cli from './index.js';
import { runCli } from './run-cli.js';
import { workerMain } from './runtime/worker.js';
import { provideModules } from './user-code/load.js';

// In users' files `@realhf/cli` is this program.
provideModules({ '@realhf/cli': cli });

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

const [, entry = '', ...words] = process.argv;

if (words[0] === 'worker') await workerMain(words.slice(1));
else process.exitCode = await commandMain();

async function commandMain(): Promise<number> {
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    process.on(name, () => {
      // The second signal ends the process at once: its checkpoint on disk stays whole by construction.
      if (interrupt.signal.aborted) process.exit(130);
      interrupt.abort(name);
    });
  }
  // `real sft --help | head` closes the pipe early; that is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  return runCli(commands, words, {
    stdout: process.stdout,
    stderr: process.stderr,
    env: process.env,
    signal: interrupt.signal,
    version: manifest.version,
    entry: [entry],
  });
}
