/**
 * One rank of a benchmark on several GPUs, told its place by RANK, SIZE and NAMES (a folder of all ranks): its device and
 * communicators as a worker of a run opens them, and models whose weights depend on their place only.
 */
import { parseArgs } from 'node:util';

import {
  singleDevice,
  type Communicator,
  type ModelConfig,
  type Parallelism,
  type ParallelGroups,
  type ParamSpec,
  type TensorCommunicator,
} from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';
import { coordinatesOf, parallelGroups, worldSize } from '@realhf/comm';
import { directoryNameResolve, socketCommunicator } from '@realhf/comm/node';
import { initStd, ReaLModel } from '@realhf/model';

import { loadNccl } from '../../../packages/cli/src/runtime/nccl-package.js';
import { openTensorWorld } from '../../../packages/cli/src/runtime/tensor-world.js';
import { openWorkerGpu } from '../../../packages/cli/src/runtime/worker-gpu.js';
import { medianMs } from '../bench/median.js';
import { shapes } from '../bench-model/shapes.js';

export interface Rank {
  readonly rank: number;
  readonly size: number;
  readonly ops: WebGpuOps;
  readonly world: Communicator;
  readonly tensors: TensorCommunicator | undefined;
  readonly config: ModelConfig;
  /** Groups of this rank in a layout of all ranks. */
  groups(layout: Parallelism): Promise<ParallelGroups>;
  /** Of rank 0 alone. */
  readonly say: (line: string) => void;
}

const timeoutMs = 180_000;

/** Runs `body` and ends the process: 1 where it throws or gives false. `--shape tiny|1b --precision f32|f16`. */
export async function runRank(body: (rank: Rank) => Promise<boolean>): Promise<never> {
  let code = 1;
  try {
    code = (await body(await openRank())) ? 0 : 1;
  } catch (e) {
    console.log(`rank ${process.env.RANK ?? '?'}:`, e);
  }
  // NCCL and Dawn are left to the end of the process.
  process.exit(code);
}

async function openRank(): Promise<Rank> {
  const { values } = parseArgs({
    options: {
      shape: { type: 'string', default: 'tiny' },
      precision: { type: 'string', default: 'f32' },
    },
  });
  const { env } = process;
  const [rank, size] = [Number(env.RANK), Number(env.SIZE)];
  const names = directoryNameResolve(env.NAMES!, { pollMs: 5 });
  const say = (line: string) => {
    if (rank === 0) console.log(line);
  };
  const nccl = await loadNccl();
  const { ops, gpu, choice } = await openWorkerGpu({
    nccl: typeof nccl === 'string' ? undefined : nccl,
    local: rank,
    perNode: size,
    gpus: null,
    precision: { matmul_precision: values.precision === 'f16' ? 'f16' : 'f32' },
  });
  const world = await socketCommunicator({
    rank,
    size,
    nameResolve: names,
    prefix: 'bench/world',
    secret: 'a benchmark on one machine',
    timeoutMs,
  });
  const tensors = await openTensorWorld({
    comm: env.COMM === 'socket' ? 'socket' : 'auto',
    nccl,
    ops,
    device: gpu.device,
    world,
    names,
    key: 'bench/nccl',
    callTimeoutMs: timeoutMs,
    say: console.log,
  });
  say(`${ops.adapter}, ${choice}; ${tensors.choice}`);
  const ranks = Array.from({ length: size }, (_, r) => r);
  return {
    rank,
    size,
    ops,
    world,
    tensors: tensors.tensors,
    config: shapes[values.shape]!,
    say,
    async groups(layout) {
      const at = await tensors.groups(ranks, layout);
      return { ...parallelGroups(world, layout), ...(at ? { tensors: at } : {}) };
    },
  };
}

/** Sizes of the axes, `d2m1p1` as in allocation_mode. */
export function layoutOf(text: string): Parallelism {
  const [dp, tp, pp] = [...text.matchAll(/\d+/g)].map(Number);
  return {
    ...singleDevice,
    dataParallelSize: dp!,
    tensorParallelSize: tp!,
    pipelineParallelSize: pp!,
  };
}

/** Groups without communicators: enough for a model that only holds its part. */
export function placeOf(index: number, layout: Parallelism): ParallelGroups {
  return {
    coordinates: coordinatesOf(index % worldSize(layout), layout),
    tpSize: layout.tensorParallelSize,
    ppSize: layout.pipelineParallelSize,
  };
}

/** Prime, so that no two rows of a matrix are the same. */
const period = 1_048_573;
const chunk = 2 ** 18;

/** Values in [-1, 1), the same in every process. */
const block = (() => {
  const out = new Float32Array(period + chunk);
  let state = 1;
  for (let i = 0; i < period; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[i] = (state >>> 8) / 2 ** 23 - 1;
  }
  out.copyWithin(period, 0, chunk);
  return out;
})();

const scaled = new Map<number, Float32Array>();

/** Elements `at` to `at + n` of a parameter: of its place only; those of matrices have the model's standard deviation. */
function valuesOf(config: ModelConfig, spec: ParamSpec, at: number, n: number): Float32Array {
  if (spec.init === 'ones') return new Float32Array(n).fill(1);
  if (spec.init === 'zeros') return new Float32Array(n);
  const width = Math.sqrt(3) * initStd(config, spec);
  const values = scaled.get(width) ?? block.map((x) => x * width);
  scaled.set(width, values);
  const from = (spec.offset + at) % period;
  return values.subarray(from, from + n);
}

/** A whole parameter of a model with made-up weights. */
export function wholeParam(config: ModelConfig, spec: ParamSpec): Float32Array {
  const out = new Float32Array(spec.size);
  for (let at = 0; at < spec.size; at += chunk)
    out.set(valuesOf(config, spec, at, Math.min(chunk, spec.size - at)), at);
  return out;
}

/** A model with made-up weights, the same in every layout. */
export function modelOf(rank: Rank, groups: ParallelGroups): ReaLModel {
  const { ops, config } = rank;
  const model = new ReaLModel({ ops, config, groups, gradientCheckpointing: false });
  for (const spec of model.specs)
    for (let at = 0; at < spec.size; at += chunk)
      model.loadRange(spec.name, at, valuesOf(config, spec, at, Math.min(chunk, spec.size - at)));
  return model;
}

/** Seconds: the median of `times` runs after one that is not counted. */
export async function seconds(times: number, run: () => Promise<unknown>): Promise<number> {
  return (await medianMs(times, run)) / 1000;
}
