/** One reallocation between real models on a device, all ranks in this process; says what is wrong, bit by bit. */
import type { ModelConfig, Ops, Parallelism, Tensor } from '@realhf/api';
import {
  loopbackCommunicators,
  parallelGroups,
  planRealloc,
  ReallocSession,
  worldSize,
} from '@realhf/comm';
import { ReaLModel, replicaMaps, unsharedParams, paramCount, paramSpecs } from '@realhf/model';

import { fillSegments, firstDifference } from './realloc-layouts.js';

export interface ReallocCase {
  readonly from: Parallelism;
  readonly to: Parallelism;
  /** First rank of the target. Default 0: the ranks of the source. */
  readonly shift?: number;
  readonly eta?: number;
  readonly wire?: 'f32' | 'f16';
  readonly maxElements?: number;
  readonly perNode?: number;
}

/** A number that f32 and f16 hold exactly, and so are its blends with eta 0.25. */
const value = (g: number) => 4 * (g % 251);

function makeReplica(
  ops: Ops,
  config: ModelConfig,
  p: Parallelism,
  allocate: boolean,
): ReaLModel[] {
  return loopbackCommunicators(worldSize(p), { timeoutMs: 20_000 }).map(
    (world) => new ReaLModel({ ops, config, groups: parallelGroups(world, p), allocate }),
  );
}

/** Undefined if every rank of the target holds what it should, to the bit. */
export async function reallocDifference(
  ops: Ops,
  source: ModelConfig,
  target: ModelConfig,
  c: ReallocCase,
): Promise<string | undefined> {
  const { from, to, shift = 0, eta = 1, wire = 'f32', maxElements = 1 << 22, perNode = 8 } = c;
  const x = makeReplica(ops, source, from, true);
  const y = makeReplica(ops, target, to, false);
  const skip = unsharedParams(source, target);
  const sharedSize =
    paramSpecs(target).find((s) => s.name === skip[0])?.offset ?? paramCount(target);
  const plan = planRealloc(
    replicaMaps(source, from, ops.maxTensorBytes),
    replicaMaps(target, to, ops.maxTensorBytes),
    {
      targetRanks: y.map((_, i) => shift + i),
      nodeOf: (r) => Math.floor(r / perNode),
      maxElements,
      skip,
    },
  );
  const write = (params: readonly Tensor[], segments: readonly Float32Array[]) => {
    segments.forEach((s, i) => {
      ops.write(params[i]!, s);
    });
  };
  for (const m of x) write(m.params, fillSegments(m.shardMap, value));
  for (const m of y) {
    m.allocate();
    write(
      m.params,
      fillSegments(m.shardMap, (g) => 2 * value(g)),
    );
  }
  const world = Math.max(x.length, shift + y.length);
  await Promise.all(
    loopbackCommunicators(world, { timeoutMs: 20_000 }).map(async (comm, rank) => {
      const sides = {
        ...(x[rank] && { source: x[rank].params }),
        ...(y[rank - shift] && { target: y[rank - shift]!.params }),
      };
      const session = new ReallocSession({ plan, rank, ops, comm, wire });
      await session.run({ ...sides, eta });
      session.free();
    }),
  );
  let wrong: string | undefined;
  for (const [r, m] of y.entries()) {
    const want = fillSegments(m.shardMap, (g) =>
      g < sharedSize ? eta * value(g) + (1 - eta) * 2 * value(g) : 2 * value(g),
    );
    const got: Float32Array[] = [];
    for (const [i, p] of m.params.entries()) got.push(await ops.read(p, 0, want[i]!.length));
    const why = firstDifference(got, want);
    if (why !== undefined) wrong ??= `rank ${shift + r} of the target, ${why}`;
    m.deallocate();
    if (m.params.length > 0) wrong ??= 'parameters after deallocate';
  }
  for (const m of [...x, ...y]) m.free();
  return wrong;
}
