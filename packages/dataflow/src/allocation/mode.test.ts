import { describe, expect, it } from 'vitest';
import { makeCluster } from './mesh.js';
import { formatParallelism, layout, parseAllocationMode, parseParallelism } from './mode.js';

const cluster = makeCluster({ nNodes: 2, nGpusPerNode: 4 });
const parse = (text: string) => parseAllocationMode(text, cluster);

describe('parseAllocationMode', () => {
  it('knows the modes', () => {
    expect(parse('manual')).toEqual({ kind: 'manual' });
    expect(parse('heuristic')).toEqual({ kind: 'heuristic' });
    expect(parse('pipe_data')).toEqual({ kind: 'symmetric', parallel: layout(4, 1, 2) });
    expect(parse('pipe_model')).toEqual({ kind: 'symmetric', parallel: layout(1, 4, 2) });
    for (const text of ['d2m4p1', 'm4d2p1', 'p1m4d2', 'd2p1m4'])
      expect(parse(text)).toEqual({ kind: 'symmetric', parallel: layout(2, 4, 1) });
  });
  it.each([
    ['d2m2p1', /a layout of 4 devices, 2 × 4 gives 8/],
    ['search', /needs measured times.*use heuristic/],
    ['Heuristic', /'Heuristic' is unknown; use manual, heuristic/],
    ['', /'' is unknown/],
    ['d2m2p2x', /column 7: expected the end, found 'x'/],
    ['d2m2p2d1', /column 7: 'd' stands here a second time/],
    ['d2m4', /column 5: expected 'p' and its size, found the end/],
    ['d2m4x', /column 5: expected 'p', found 'x'/],
    ['d2mp1', /column 4: a number must follow/],
    ['d0m4p1', /column 2: the size of 'd' is 0/],
    ['d2m', /allocation_mode 'd2m', column 4: expected the size of 'm', found the end/],
  ])('%s', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });
  it('writes layouts as it reads them', () => {
    expect(formatParallelism(parseParallelism('p3d2m1'))).toBe('d2m1p3');
  });
});
