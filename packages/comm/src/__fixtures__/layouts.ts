/** Small made-up models in any layout, as ShardMaps: what model's shard rules give, without a model. */
import type { Parallelism, ShardInterval, ShardMap } from '@realhf/api';
import { coordinatesOf, worldSize } from '../topology.js';

/** How tensor parallelism cuts a parameter: rows, columns (one interval per row), or not at all. */
export interface TestParam {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly split: 'rows' | 'columns' | 'none';
  readonly layer: number;
}

export function testModel(layers: number): TestParam[] {
  const params: TestParam[] = [
    { name: '0.embed', rows: 12, columns: 8, split: 'rows', layer: 0 },
  ];
  for (let layer = 0; layer < layers; layer++)
    params.push(
      { name: `${layer + 1}.norm`, rows: 1, columns: 8, split: 'none', layer },
      { name: `${layer + 1}.qkv`, rows: 16, columns: 8, split: 'rows', layer },
      { name: `${layer + 1}.out`, rows: 8, columns: 16, split: 'columns', layer },
      { name: `${layer + 1}.bias`, rows: 1, columns: 16, split: 'columns', layer },
    );
  params.push({ name: 'head', rows: 12, columns: 8, split: 'rows', layer: layers - 1 });
  return params;
}

export const sizeOf = (params: readonly TestParam[]) =>
  params.reduce((n, p) => n + p.rows * p.columns, 0);

export function layout(pp: number, dp: number, tp: number): Parallelism {
  return {
    pipelineParallelSize: pp,
    dataParallelSize: dp,
    tensorParallelSize: tp,
    useSequenceParallel: false,
  };
}

/** A map per rank; tensors begin on 64 elements and segments hold at most `segmentSize`. */
export function shardMaps(
  params: readonly TestParam[],
  layers: number,
  p: Parallelism,
  segmentSize = 512,
): ShardMap[] {
  return Array.from({ length: worldSize(p) }, (_, rank) => {
    const { pp, tp } = coordinatesOf(rank, p);
    const intervals: ShardInterval[] = [];
    const segmentSizes: number[] = [];
    let global = 0;
    let local = 0;
    for (const q of params) {
      const stage = Math.floor((q.layer * p.pipelineParallelSize) / layers);
      const t = q.split === 'none' ? 1 : p.tensorParallelSize;
      const at = q.split === 'none' ? 0 : tp;
      const size = (q.rows * q.columns) / t;
      if (stage === pp) {
        local = Math.ceil(local / 64) * 64;
        if (segmentSizes.length === 0 || local + size > segmentSize) {
          segmentSizes.push(0);
          local = 0;
        }
        const segment = segmentSizes.length - 1;
        const width = q.columns / t;
        const lines = q.split === 'columns' ? q.rows : 1;
        for (let r = 0; r < lines; r++)
          intervals.push({
            param: q.name,
            global: global + (q.split === 'columns' ? r * q.columns + at * width : at * size),
            segment,
            local: local + r * (size / lines),
            length: size / lines,
          });
        local += size;
        segmentSizes[segment] = local;
      }
      global += q.rows * q.columns;
    }
    return { intervals, segmentSizes };
  });
}

/** Segments of a map in which every element holds f(its place in the flat space); padding holds −1. */
export function fill(map: ShardMap, f: (global: number) => number): Float32Array[] {
  const segments = map.segmentSizes.map((n) => new Float32Array(n).fill(-1));
  for (const i of map.intervals)
    for (let e = 0; e < i.length; e++) segments[i.segment]![i.local + e] = f(i.global + e);
  return segments;
}
