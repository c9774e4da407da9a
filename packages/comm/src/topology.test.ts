/** Ranks and coordinates are a bijection; groups partition the ranks. */
import { expect, it } from 'vitest';
import { ConfigError } from '@realhf/api';
import { layout } from './__fixtures__/layouts.js';
import { loopbackCommunicators } from './loopback.js';
import { coordinatesOf, groupOf, groupsOf, parallelGroups, rankOf, worldSize } from './topology.js';

it('ranks and coordinates are a bijection', () => {
  const p = layout(2, 3, 4);
  expect(worldSize(p)).toBe(24);
  for (let rank = 0; rank < 24; rank++) expect(rankOf(coordinatesOf(rank, p), p)).toBe(rank);
  expect(coordinatesOf(23, p)).toEqual({ pp: 1, dp: 2, tp: 3 });
  expect(rankOf({ pp: 1, dp: 0, tp: 0 }, p)).toBe(12);
  expect(() => coordinatesOf(24, p)).toThrow(ConfigError);
  expect(() => rankOf({ pp: 0, dp: 3, tp: 0 }, p)).toThrow(/dp 3.*0…2/);
});

it('groups partition the ranks along each axis', () => {
  const p = layout(2, 2, 2);
  expect(groupsOf('tp', p)).toEqual([
    [0, 1],
    [2, 3],
    [4, 5],
    [6, 7],
  ]);
  expect(groupsOf('dp', p)).toEqual([
    [0, 2],
    [1, 3],
    [4, 6],
    [5, 7],
  ]);
  expect(groupOf(5, 'pp', p)).toEqual([1, 5]);
});

it('makes the groups of every rank', async () => {
  const p = layout(2, 1, 2);
  const worlds = loopbackCommunicators(4);
  const sums = await Promise.all(
    worlds.map(async (world) => {
      const groups = parallelGroups(world, p);
      expect(groups.dp).toBeUndefined();
      expect([groups.tp?.rank, groups.pp?.rank]).toEqual([
        groups.coordinates.tp,
        groups.coordinates.pp,
      ]);
      const x = new Float32Array([world.rank]);
      await groups.tp?.allReduce(x);
      return x[0];
    }),
  );
  expect(sums).toEqual([1, 1, 5, 5]);
  expect(() => parallelGroups(worlds[0]!, layout(1, 1, 2))).toThrow(ConfigError);
});
