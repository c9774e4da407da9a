/**
 * The ShardMaps of all ranks of a replica, as every ReaLModel of it makes its own: what a reallocation is planned from,
 * on any rank and without a model. Data-parallel ranks share one object.
 */
import { ConfigError, type ModelConfig, type Parallelism, type ShardMap } from '@realhf/api';
import { paramAlignment, shardMap } from './shard-map.js';
import { paramSpecs } from './specs.js';

/** Elements of f32 that a segment can have: 1 GiB, within the adapter's limit (bytes), shareable by `dpSize` ranks. */
export function segmentElements(maxTensorBytes: number, dpSize: number): number {
  const unit = paramAlignment * dpSize;
  const most = Math.floor(Math.min(2 ** 30, maxTensorBytes) / 4);
  return most - (most % unit);
}

/** By rank of the layout (pp, dp, tp). `maxTensorBytes` is that of the ranks' Ops. Throws ConfigError if the model can't be cut so. */
export function replicaMaps(
  config: ModelConfig,
  parallel: Parallelism,
  maxTensorBytes: number,
): ShardMap[] {
  const { pipelineParallelSize: pp, dataParallelSize: dp, tensorParallelSize: tp } = parallel;
  const options = { maxSegmentElements: segmentElements(maxTensorBytes, dp) };
  const numbers = (n: number) => Array.from({ length: n }, (_, i) => i);
  return numbers(pp).flatMap((stage) => {
    const maps = numbers(tp).map(
      (rank) =>
        shardMap(config, { tp: { rank, size: tp }, pp: { rank: stage, size: pp } }, options).map,
    );
    return numbers(dp).flatMap(() => maps);
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
