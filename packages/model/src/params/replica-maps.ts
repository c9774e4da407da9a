/**
 * What all ranks of a replica hold, in the form of strided intervals (ReaLModel.shardMap says the same row by row): what a
 * reallocation is planned from, on any rank and without a model. Data-parallel ranks share one object.
 */
import { ConfigError, type ModelConfig, type Parallelism, type ParamSpec } from '@realhf/api';
import type { StridedInterval, StridedMap } from '@realhf/comm';
import { paramAlignment, placeParams, type PlacedParam } from './shard-map.js';
import { paramSpecs } from './specs.js';

/** Elements of f32 that a segment can have: 1 GiB, within the adapter's limit (bytes), shareable by `dpSize` ranks. */
export function segmentElements(maxTensorBytes: number, dpSize: number): number {
  const unit = paramAlignment * dpSize;
  const most = Math.floor(Math.min(2 ** 30, maxTensorBytes) / 4);
  return most - (most % unit);
}

/** By rank of the layout (pp, dp, tp). `maxTensorBytes` is that of the ranks' Ops; `specs` are the model's or an adapter's. Throws ConfigError if the model can't be cut so. */
export function replicaMaps(
  config: ModelConfig,
  parallel: Parallelism,
  maxTensorBytes: number,
  specs?: readonly ParamSpec[],
): StridedMap[] {
  const { pipelineParallelSize: pp, dataParallelSize: dp, tensorParallelSize: tp } = parallel;
  const options = {
    maxSegmentElements: segmentElements(maxTensorBytes, dp),
    ...(specs ? { specs } : {}),
  };
  const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
  return numbers(pp).flatMap((stage) => {
    const maps = numbers(tp).map((rank): StridedMap => {
      const parts = { tp: { rank, size: tp }, pp: { rank: stage, size: pp } };
      const { placed, segmentSizes } = placeParams(config, parts, options);
      return { intervals: placed.flatMap(stridedIntervals), segmentSizes };
    });
    return numbers(dp).flatMap(() => maps);
  });
}

/** The rows and columns of a placed parameter: one interval per range of rows. */
function stridedIntervals({ spec, slice, segment, offset }: PlacedParam): StridedInterval[] {
  const width = spec.shape[1] ?? 1;
  const [left, right] = slice.columns;
  const whole = right - left === width;
  let local = offset;
  return slice.rows.map(([begin, end]) => {
    const interval = {
      param: spec.name,
      global: spec.offset + begin * width + left,
      segment,
      local,
      run: whole ? (end - begin) * width : right - left,
      stride: whole ? (end - begin) * width : width,
      count: whole ? 1 : end - begin,
    };
    local += (end - begin) * (right - left);
    return interval;
  });
}

/**
 * Parameters that a reallocation from one model to another leaves alone: the head, where one of the two is a critic and
 * the other is not. Throws ConfigError if the models differ in anything else.
 */
export function unsharedParams(source: ModelConfig, target: ModelConfig): string[] {
  const known = new Map(paramSpecs(source).map((s) => [s.name, s]));
  const head = `${target.nLayers + 1}.head.weight`;
  const skip: string[] = [];
  for (const { name, shape, offset } of paramSpecs(target)) {
    const other = known.get(name);
    if (other?.offset === offset && other.shape.join() === shape.join()) continue;
    if (name !== head || source.isCritic === target.isCritic)
      throw new ConfigError(
        `reallocation: the target's '${name}' is [${shape.join(', ')}], the source's ${other ? `[${other.shape.join(', ')}]` : 'is not there'}; only the head of a critic may differ`,
      );
    skip.push(name);
  }
  return skip;
}
