/**
 * How tensors travel between the workers of a run: by NCCL from GPU to GPU where every rank can, else through the host
 * over the sockets that are there anyway. All ranks decide alike, since each tells the others whether it can.
 */
import {
  DeviceError,
  RealError,
  type Communicator,
  type ParallelGroups,
  type Parallelism,
} from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';
import { groupOf, type NameResolve } from '@realhf/comm';

import type { CommonConfig } from '../options/schemas/common.js';
import type { NcclPackage, NcclWorld } from './nccl-package.js';

export interface TensorWorldOptions {
  readonly comm: CommonConfig['comm'];
  /** The package, or why it isn't there. */
  readonly nccl: NcclPackage | string;
  readonly ops: WebGpuOps;
  readonly device: GPUDevice;
  readonly world: Communicator;
  readonly names: NameResolve;
  /** Of names of this run. */
  readonly key: string;
  readonly callTimeoutMs: number;
  readonly say: (line: string) => void;
}

export interface TensorWorld {
  /** What was chosen and why, in a line. */
  readonly choice: string;
  /** undefined: through the host. */
  readonly tensors: NcclWorld | undefined;
  /** Of a replica on `ranks` of the world; every one of them must call it, in one order. */
  groups(ranks: readonly number[], parallel: Parallelism): Promise<ParallelGroups['tensors']>;
  close(): Promise<void>;
}

/** Collective over the world. Throws DeviceError with comm=nccl where a rank can't. */
export async function openTensorWorld(o: TensorWorldOptions): Promise<TensorWorld> {
  if (o.comm === 'socket') return overSockets('comm=socket');
  const { nccl } = o;
  const why = typeof nccl === 'string' ? nccl : await problem(o, nccl);
  const opened = { world: undefined as NcclWorld | undefined, why };
  if (await allCan(o.world, why === undefined)) {
    try {
      opened.world = await join(o, nccl as NcclPackage);
    } catch (e) {
      if (!RealError.is(e)) throw e;
      opened.why = e.message;
    }
    if (!(await allCan(o.world, opened.world !== undefined))) {
      await opened.world?.close();
      opened.world = undefined;
    }
  }
  if (opened.world) return overNccl(opened.world, nccl as NcclPackage);
  const reason = opened.why ?? 'another rank can not; its log says why';
  if (o.comm === 'nccl')
    throw new DeviceError(`comm=nccl can't be: ${reason}; mend it or use comm=auto`);
  return overSockets(reason);
}

/** Why this rank can't; with comm=nccl copies through the host will do, and joining tells. */
async function problem(o: TensorWorldOptions, nccl: NcclPackage): Promise<string | undefined> {
  try {
    new nccl.Nccl();
    if (o.comm === 'nccl') new nccl.Cuda();
    else (await nccl.openBridge({ device: o.device, memory: 'shared' })).close();
    return undefined;
  } catch (e) {
    if (!RealError.is(e)) throw e;
    return e.message;
  }
}

async function allCan(world: Communicator, can: boolean): Promise<boolean> {
  const cannot = Float32Array.of(can ? 0 : 1);
  await world.allReduce(cannot);
  return cannot[0] === 0;
}

async function join(o: TensorWorldOptions, nccl: NcclPackage): Promise<NcclWorld> {
  const { ops, device, world, names, key } = o;
  return nccl.ncclTensorCommunicator({
    device,
    rank: world.rank,
    size: world.size,
    names,
    key,
    rangeOf: (t, written) => ops.deviceRange(t, written),
    memory: o.comm === 'nccl' ? 'auto' : 'shared',
    timeoutMs: o.callTimeoutMs,
    warn: o.say,
  });
}

function overSockets(why: string): TensorWorld {
  return {
    choice: `tensors through the host over sockets (${why})`,
    tensors: undefined,
    groups: () => Promise.resolve(undefined),
    close: () => Promise.resolve(),
  };
}

function overNccl(world: NcclWorld, nccl: NcclPackage): TensorWorld {
  const where = world.memory === 'shared' ? "on WebGPU's buffers" : 'staged through the host';
  /** By ranks: replicas of one layout share. Calls of a worker come one after another, so that none mix. */
  const made = new Map<string, Promise<NcclWorld>>();
  const group = (ranks: readonly number[]): Promise<NcclWorld> | undefined => {
    const name = ranks.join(' ');
    const found = made.get(name) ?? world.group(ranks);
    if (found) made.set(name, found);
    return found;
  };
  return {
    choice: `tensors over NCCL ${nccl.ncclVersionText(new nccl.Nccl().version)} ${where}`,
    tensors: world,
    async groups(ranks, parallel) {
      const at = ranks.indexOf(world.rank);
      const tensors: Partial<Record<'tp' | 'pp' | 'dp', NcclWorld>> = {};
      for (const axis of ['tp', 'pp', 'dp'] as const) {
        const mine = groupOf(at, axis, parallel).map((i) => ranks[i]!);
        const comm = mine.length > 1 ? await group(mine) : undefined;
        if (comm) tensors[axis] = comm;
      }
      return tensors;
    },
    close: () => world.close(),
  };
}
