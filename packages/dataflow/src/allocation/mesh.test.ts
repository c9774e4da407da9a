import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allMeshes, clusterSize, formatMesh, makeCluster, meshRanks, parseMesh } from './mesh.js';

const cluster = makeCluster({ nNodes: 7, nGpusPerNode: 6 });
const ranksOf = (text: string | null, c = cluster) => meshRanks(parseMesh(text, c), c);

describe('parseMesh', () => {
  it('reads nodes, ranges, lists and devices', () => {
    expect(ranksOf(null)).toHaveLength(42);
    expect(ranksOf('NODE01')).toEqual([0, 1, 2, 3, 4, 5]);
    expect(ranksOf('NODE2:0,1,2')).toEqual([6, 7, 8]);
    expect(ranksOf('NODE[03-04]')).toEqual(ranksOf('NODE03,NODE04'));
    expect(ranksOf('NODE[01-03,04],NODE05')).toHaveLength(30);
    const named = makeCluster({ nNodes: 2, nGpusPerNode: 2, nodelist: 'gpu-a,gpu-b' });
    expect(ranksOf('gpu-b:1', named)).toEqual([3]);
    const prefixed = makeCluster({ nNodes: 2, nGpusPerNode: 3, nodePrefix: 'com' });
    expect(ranksOf('com[01-02]', prefixed)).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it.each([
    ['', 1, 'expected the name of a node, found the end'],
    ['NODE[01-0x]', 10, "expected a digit, ',' or ']', found 'x'"],
    ['NODE[0x]', 7, "expected a digit, '-', ',' or ']', found 'x'"],
    ['NODE[01-', 9, 'expected the last number of the range, found the end'],
    ['NODE[01-03', 11, "expected a digit, ',' or ']', found the end"],
    ['NODE[03-01]', 9, 'the range 03-01 runs backwards'],
    ['NODE[01,09]', 9, "there is no node 'NODE09'"],
    ['NODE01,NODE03', 8, "node 'NODE03' does not follow 'NODE01'"],
    ['NODE[01-03,07]', 12, "node 'NODE07' does not follow 'NODE03'"],
    ['NODE01:', 8, 'expected the number of a device, found the end'],
    ['NODE01:0,2', 10, 'device 2 does not follow 0'],
    ['NODE01:0,6', 10, 'there is no device 6; a node has 0 to 5'],
    ['NODE01:0,1 ', 11, "expected ',' or the end, found ' '"],
    ['NODE01 x', 7, "expected ',', ':' or the end, found ' '"],
    ['NODE[01-02]:0,1', 13, '2 of 6 devices on each of 2 nodes'],
    ['OTHER01', 1, "there is no node 'OTHER01'; nodes are NODE01 … NODE07"],
  ])('%s is wrong at column %i', (text, column, message) => {
    expect(() => parseMesh(text, cluster)).toThrow(`mesh '${text}', column ${column}: ${message}`);
  });

  it('refuses clusters that are none', () => {
    expect(() => makeCluster({ nNodes: 0, nGpusPerNode: 1 })).toThrow(/0 nodes/);
    expect(() => makeCluster({ nNodes: 2, nGpusPerNode: 1, nodelist: 'a' })).toThrow(/names 1/);
    expect(() => makeCluster({ nNodes: 2, nGpusPerNode: 1, nodelist: 'a,a' })).toThrow(/twice/);
    expect(() => makeCluster({ nNodes: 1, nGpusPerNode: 1, nodelist: 'a;b' })).toThrow(/column 2/);
  });
});

it('formatMesh writes what parseMesh reads, for every mesh of any cluster', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 7 }), (n, g) => {
      const c = makeCluster({ nNodes: n, nGpusPerNode: g });
      const meshes = allMeshes(c);
      // Runs within nodes and runs of at least two nodes.
      expect(meshes).toHaveLength((n * g * (g + 1)) / 2 + (n * (n - 1)) / 2);
      for (const m of meshes) {
        expect(parseMesh(formatMesh(m, c), c)).toEqual(m);
        const ranks = meshRanks(m, c);
        expect(ranks).toEqual(ranks.map((_, i) => ranks[0]! + i));
        expect(ranks.at(-1)).toBeLessThan(clusterSize(c));
      }
    }),
  );
});
