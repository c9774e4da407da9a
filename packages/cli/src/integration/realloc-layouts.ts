/** What the reallocation tests share: small configs, all layouts of up to eight ranks, parameters that say where they belong. */
import { coordinatesOf, worldSize } from '@realhf/comm';
import { segmentElements, shardMap } from '@realhf/model';
import { singleDevice, type ModelConfig, type Parallelism, type ShardMap } from '@realhf/api';

import { gpt2, llama } from './harness.js';

/** Two kv heads on up to eight tp ranks, a vocabulary that no tp divides, layers for eight stages: as few elements as that allows. */
const small = {
  nLayers: 6,
  nHeads: 8,
  nKvHeads: 2,
  headDim: 2,
  hiddenDim: 4,
  intermediateDim: 8,
  vocabSize: 15,
  maxPositions: 3,
  attentionScale: 1,
} as const;
export const smallConfigs: Readonly<Record<string, ModelConfig>> = {
  llama: llama(small),
  'llama critic': llama({ ...small, isCritic: true }),
  'gpt2 tied': gpt2({ ...small, nKvHeads: 8 }),
  'gpt2 critic': gpt2({ ...small, nKvHeads: 8, isCritic: true }),
};

export function parallel(dp: number, tp: number, pp: number): Parallelism {
  return {
    ...singleDevice,
    dataParallelSize: dp,
    tensorParallelSize: tp,
    pipelineParallelSize: pp,
  };
}

export const nameOf = (p: Parallelism) =>
  `dp${p.dataParallelSize} tp${p.tensorParallelSize} pp${p.pipelineParallelSize}`;

/** All layouts of at most eight ranks whose tp divides eight heads: 32. */
export const layouts: readonly Parallelism[] = [1, 2, 4, 8].flatMap((tp) =>
  Array.from({ length: 8 / tp }, (_, i) => i + 1).flatMap((pp) =>
    Array.from({ length: Math.floor(8 / tp / pp) }, (_, i) => parallel(i + 1, tp, pp)),
  ),
);

/** What every rank of a layout holds, row by row, one object per rank. */
export function shardMapsOf(
  config: ModelConfig,
  p: Parallelism,
  maxTensorBytes: number,
): ShardMap[] {
  const maxSegmentElements = segmentElements(maxTensorBytes, p.dataParallelSize);
  return Array.from({ length: worldSize(p) }, (_, rank) => {
    const { tp, pp } = coordinatesOf(rank, p);
    const parts = {
      tp: { rank: tp, size: p.tensorParallelSize },
      pp: { rank: pp, size: p.pipelineParallelSize },
    };
    return shardMap(config, parts, { maxSegmentElements }).map;
  });
}

/** Segments in which an element of the flat space holds f(its place), everything else `other`. */
export function fillSegments(
  map: ShardMap,
  f: (global: number) => number,
  other = 0,
): Float32Array[] {
  const segments = map.segmentSizes.map((n) => new Float32Array(n).fill(other));
  for (const i of map.intervals)
    for (let e = 0; e < i.length; e++) segments[i.segment]![i.local + e] = f(i.global + e);
  return segments;
}

/** First place where two lists of segments differ, for a short message; undefined if they are equal. */
export function firstDifference(
  got: readonly Float32Array[],
  want: readonly Float32Array[],
): string | undefined {
  if (got.length !== want.length) return `${got.length} segments, not ${want.length}`;
  for (let s = 0; s < want.length; s++)
    for (let i = 0; i < want[s]!.length; i++)
      if (got[s]![i] !== want[s]![i])
        return `segment ${s}, element ${i}: ${got[s]![i]}, not ${want[s]![i]}`;
  return undefined;
}
