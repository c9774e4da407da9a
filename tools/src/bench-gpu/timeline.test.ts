import { expect, test } from 'vitest';

import { idleShare, joined } from './timeline.js';
import { ppoTrace } from './trace.js';

const spans = [
  { begin: 5e8, end: 7e8 },
  { begin: 1e8, end: 3e8 },
  { begin: 2e8, end: 4e8 },
];

test('idle is what no pass covers; spans that overlap count once', () => {
  expect(idleShare(spans, 1)).toBeCloseTo(0.5, 12);
  expect(idleShare([], 2)).toBe(1);
});

test('passes with small gaps are joined and begin at 0', () => {
  expect(joined(spans, 0)).toEqual([
    { begin: 0, end: 3e8 },
    { begin: 4e8, end: 6e8 },
  ]);
  expect(joined(spans, 2e8)).toEqual([{ begin: 0, end: 6e8 }]);
  const trace = ppoTrace([
    { name: 'actor train', begin: 2, seconds: 1, idle: 0.5, busy: joined(spans, 2e8) },
  ]);
  expect(trace.traceEvents.slice(2).map(({ ts, dur }) => [ts, dur])).toEqual([
    [2e6, 1e6],
    [2e6, 6e5],
  ]);
});
