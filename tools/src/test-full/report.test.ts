/** Counting vitest's report. */
import { expect, test } from 'vitest';

import { countTests } from './report.js';

test('passed, failed, skipped, and a file that does not load', () => {
  const file = (name: string, seconds: number, status: string, ...states: string[]) => ({
    name: `/r/${name}`,
    startTime: 1000,
    endTime: 1000 + seconds * 1000,
    status,
    message: status === 'failed' ? 'SyntaxError\nmore' : '',
    assertionResults: states.map((s, i) => ({ fullName: `t${i}`, status: s })),
  });
  const counts = countTests(
    {
      testResults: [
        file('a', 1, 'passed', 'passed', 'pending', 'todo'),
        file('b', 3, 'failed', 'passed', 'failed'),
        file('c', 2, 'failed'),
      ],
    },
    '/r',
  );
  expect(counts).toMatchObject({ passed: 2, failed: 2, skipped: 2 });
  expect(counts.failures).toEqual(['b: t1', 'c: SyntaxError']);
  expect(counts.skips).toEqual(['a: t1', 'a: t2']);
  expect(counts.files.map((f) => f.path)).toEqual(['b', 'c', 'a']);
});
