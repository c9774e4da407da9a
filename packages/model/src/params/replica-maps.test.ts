import { singleDevice } from '@realhf/api';
import { expect, it } from 'vitest';

import { replicaMaps, segmentElements, unsharedParams } from './replica-maps.js';
import { shardMap } from './shard-map.js';
import { gpt2Config, llamaConfig } from './test-configs.js';

it('says element by element what the maps of the models say', () => {
  for (const config of [
    llamaConfig({ nHeads: 8, nKvHeads: 2 }),
    gpt2Config({ nHeads: 4, isCritic: true }),
    gpt2Config({ nHeads: 4, nLayers: 3 }),
  ])
    for (const [pp, dp, tp] of [
      [1, 1, 1],
      [2, 2, 4],
      [3, 1, 2],
    ] as const) {
      const bytes = 4 * 64 * 100;
      const maps = replicaMaps(
        config,
        { ...singleDevice, pipelineParallelSize: pp, dataParallelSize: dp, tensorParallelSize: tp },
        bytes,
      );
      expect(maps).toHaveLength(pp * dp * tp);
      maps.forEach((strided, rank) => {
        const parts = {
          tp: { rank: rank % tp, size: tp },
          pp: { rank: Math.floor(rank / (dp * tp)), size: pp },
        };
        const { map } = shardMap(config, parts, {
          maxSegmentElements: segmentElements(bytes, dp),
        });
        expect(strided.segmentSizes).toEqual(map.segmentSizes);
        const got = strided.intervals.flatMap((i) =>
          Array.from({ length: i.run * i.count }, (_, n) => {
            const [row, e] = [Math.floor(n / i.run), n % i.run];
            return [i.param, i.global + row * i.stride + e, i.segment, i.local + n].join();
          }),
        );
        const want = map.intervals.flatMap((i) =>
          Array.from({ length: i.length }, (_, e) =>
            [i.param, i.global + e, i.segment, i.local + e].join(),
          ),
        );
        expect(got.join('\n') === want.join('\n')).toBe(true);
      });
    }
});

it('segments are shareable and within the limit', () => {
  expect(segmentElements(2 ** 40, 1)).toBe(2 ** 28);
  expect(segmentElements(4 * 64 * 10, 4) % 256).toBe(0);
});

it('only the head of a critic may differ', () => {
  const llama = llamaConfig();
  const critic = llamaConfig({ isCritic: true });
  expect(unsharedParams(llama, llama)).toEqual([]);
  expect(unsharedParams(llama, critic)).toEqual(['3.head.weight']);
  expect(unsharedParams(critic, llama)).toEqual(['3.head.weight']);
  expect(unsharedParams(gpt2Config(), gpt2Config({ isCritic: true }))).toEqual(['3.head.weight']);
  expect(() => unsharedParams(llama, llamaConfig({ vocabSize: 41 }))).toThrow(/0\.wte\.weight/);
  expect(() => unsharedParams(gpt2Config(), gpt2Config({ tiedEmbedding: false }))).toThrow(
    /'3\.head\.weight'.*only the head of a critic/,
  );
});
