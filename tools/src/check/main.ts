/** `npm run check`: what must hold before a release. One line a gate, the problems of those that failed, exit code 1. */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { runGates, selectGates, type GateResult } from './gate.js';
import { allGates } from './gates.js';

const help = `npm run check -- [--only NAME,NAME] [--json FILE] [--list]`;

export async function main(root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      json: { type: 'string' },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(help);
    return 0;
  }
  const { gates, cleanUp } = allGates(root);
  if (values.list) {
    for (const { name } of gates) console.log(name);
    return 0;
  }
  try {
    const selected = selectGates(gates, values.only?.split(',') ?? []);
    const results = await runGates(selected, 2, print);
    if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(results));
    const failed = results.filter((r) => !r.passed);
    console.log(
      failed.length === 0
        ? `check: ${results.length} gates passed`
        : `check: ${failed.length} of ${results.length} gates failed: ${failed.map((r) => r.name).join(', ')}`,
    );
    return failed.length === 0 ? 0 : 1;
  } finally {
    cleanUp();
  }
}

function print({ name, passed, seconds, problems }: GateResult): void {
  console.log(`${passed ? 'ok    ' : 'FAILED'} ${name.padEnd(10)} ${seconds.toFixed(1)} s`);
  if (!passed) console.log(problems.trimEnd().replaceAll(/^/gm, '    '));
}
