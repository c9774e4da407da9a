/** What we read of vitest's JSON report. */
import { relative } from 'node:path';

export interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly startTime: number;
    readonly endTime: number;
    /** `failed` with no assertions: the file did not load. */
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
    }[];
  }[];
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Names with their file. */
  readonly failures: readonly string[];
  readonly skips: readonly string[];
  /** Longest first. */
  readonly files: readonly { readonly path: string; readonly seconds: number }[];
}

/** A file that does not load counts as one failed test. */
export function countTests(report: VitestReport, root: string): Counts {
  let passed = 0;
  const failures: string[] = [];
  const skips: string[] = [];
  for (const file of report.testResults) {
    const path = relative(root, file.name);
    const before = failures.length;
    for (const { fullName, status } of file.assertionResults) {
      if (status === 'passed') passed++;
      else if (status === 'failed') failures.push(`${path}: ${fullName}`);
      else skips.push(`${path}: ${fullName}`);
    }
    if (file.status === 'failed' && failures.length === before)
      failures.push(`${path}: ${file.message?.split('\n')[0] ?? 'does not load'}`);
  }
  const files = report.testResults
    .map((f) => ({ path: relative(root, f.name), seconds: (f.endTime - f.startTime) / 1000 }))
    .sort((a, b) => b.seconds - a.seconds);
  return { passed, failed: failures.length, skipped: skips.length, failures, skips, files };
}
