/** The last lines of `.ci/run`: names what failed or was skipped, then `N passed, N failed, N skipped`. */
import { existsSync, readFileSync } from 'node:fs';

import type { GateResult } from '../check/gate.js';
import { countTests, type VitestReport } from '../test-full/report.js';

/** `args`: the report of the gates, that of vitest. One that is missing counts as one failure. */
export function main(root: string, args: readonly string[]): number {
  const [gatesFile = '', testsFile = ''] = args;
  const gates = existsSync(gatesFile) ? (read(gatesFile) as readonly GateResult[]) : undefined;
  const tests = existsSync(testsFile)
    ? countTests(read(testsFile) as VitestReport, root)
    : undefined;
  const failures = [
    ...(gates ?? []).filter((g) => !g.passed).map((g) => `check: ${g.name}`),
    ...(gates ? [] : ['check: it wrote no report']),
    ...(tests ? tests.failures : ['tests: vitest wrote no report']),
  ];
  const passed = (gates ?? []).filter((g) => g.passed).length + (tests?.passed ?? 0);
  for (const name of tests?.skips ?? []) console.log(`skipped: ${name}`);
  for (const name of failures) console.log(`failed: ${name}`);
  console.log(`${passed} passed, ${failures.length} failed, ${tests?.skipped ?? 0} skipped`);
  return failures.length === 0 ? 0 : 1;
}

function read(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8'));
}
