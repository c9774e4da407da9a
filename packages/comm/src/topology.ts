/**
 * Topology: where the ranks of one model stand in its pipeline, data and tensor parallel grid. Rank order is
 * (pp, dp, tp) row-major, so the ranks of a tensor-parallel group are neighbours.
 */
import { ConfigError } from '@realhf/api';
import type { Communicator, Parallelism, ParallelGroups, RankCoordinates } from '@realhf/api';

/** An axis of the grid: `pp`, `dp` or `tp`. */
export type Axis = keyof RankCoordinates;

/** Ranks of the grid. */
export function worldSize(p: Parallelism): number {
  return p.pipelineParallelSize * p.dataParallelSize * p.tensorParallelSize;
}

/** Ranks along one axis. */
export function axisSize(p: Parallelism, axis: Axis): number {
  if (axis === 'pp') return p.pipelineParallelSize;
  return axis === 'dp' ? p.dataParallelSize : p.tensorParallelSize;
}

/** Rank of coordinates. Throws ConfigError outside the grid. */
export function rankOf(c: RankCoordinates, p: Parallelism): number {
  for (const axis of ['pp', 'dp', 'tp'] as const)
    if (!Number.isInteger(c[axis]) || c[axis] < 0 || c[axis] >= axisSize(p, axis))
      throw new ConfigError(`${axis} ${c[axis]} is outside 0…${axisSize(p, axis) - 1}`);
  return (c.pp * p.dataParallelSize + c.dp) * p.tensorParallelSize + c.tp;
}

/** Coordinates of a rank. Throws ConfigError outside the grid. */
export function coordinatesOf(rank: number, p: Parallelism): RankCoordinates {
  if (!Number.isInteger(rank) || rank < 0 || rank >= worldSize(p))
    throw new ConfigError(`rank ${rank} is outside 0…${worldSize(p) - 1}`);
  const tp = rank % p.tensorParallelSize;
  const rest = (rank - tp) / p.tensorParallelSize;
  const dp = rest % p.dataParallelSize;
  return { pp: (rest - dp) / p.dataParallelSize, dp, tp };
}

/** Ranks that differ from `rank` only along `axis`, in the order of that coordinate; `rank` is one of them. */
export function groupOf(rank: number, axis: Axis, p: Parallelism): number[] {
  const at = coordinatesOf(rank, p);
  return Array.from({ length: axisSize(p, axis) }, (_, i) => rankOf({ ...at, [axis]: i }, p));
}

/** All groups along an axis, by their first rank; together they hold every rank once. */
export function groupsOf(axis: Axis, p: Parallelism): number[][] {
  return Array.from({ length: worldSize(p) }, (_, rank) => rank)
    .filter((rank) => coordinatesOf(rank, p)[axis] === 0)
    .map((rank) => groupOf(rank, axis, p));
}

/** This rank's groups on a communicator of the whole grid; an axis of size 1 has none. Throws ConfigError if the sizes differ. */
export function parallelGroups(world: Communicator, p: Parallelism): ParallelGroups {
  if (world.size !== worldSize(p))
    throw new ConfigError(
      `the layout needs ${worldSize(p)} ranks, the communicator has ${world.size}; start as many workers`,
    );
  const groups: { tp?: Communicator; pp?: Communicator; dp?: Communicator } = {};
  for (const axis of ['tp', 'pp', 'dp'] as const) {
    if (axisSize(p, axis) === 1) continue;
    const group = world.group(groupOf(world.rank, axis, p));
    if (group) groups[axis] = group;
  }
  return {
    coordinates: coordinatesOf(world.rank, p),
    tpSize: p.tensorParallelSize,
    ppSize: p.pipelineParallelSize,
    ...(p.useSequenceParallel ? { sequenceParallel: true } : {}),
    ...groups,
  };
}
