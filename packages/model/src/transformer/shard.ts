/** What one rank of a model holds and how it talks: local sizes, parameter and gradient views, collectives on device tensors. */
import {
  CheckpointError,
  type Communicator,
  type LocalParam,
  type ModelConfig,
  type Ops,
  type ParallelGroups,
  type Tensor,
} from '@realhf/api';

export interface LocalHeads {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly qHeadOffset: number;
  readonly kvHeadOffset: number;
  /** q heads per kv head, globally. */
  readonly group: number;
}

/** The q heads of a tensor-parallel rank, and the kv heads that they need (replicated where nKvHeads does not divide). */
export function localHeads(config: ModelConfig, tp: number, tpSize: number): LocalHeads {
  const group = config.nHeads / config.nKvHeads;
  const nHeads = config.nHeads / tpSize;
  const qHeadOffset = tp * nHeads;
  const kvHeadOffset = Math.floor(qHeadOffset / group);
  const last = Math.floor((qHeadOffset + nHeads - 1) / group);
  return { nHeads, nKvHeads: last - kvHeadOffset + 1, qHeadOffset, kvHeadOffset, group };
}

export class Shard {
  readonly config: ModelConfig;
  readonly ops: Ops;
  readonly groups: ParallelGroups;
  readonly heads: LocalHeads;
  private readonly weights = new Map<string, Tensor>();
  private readonly grads = new Map<string, Tensor>();

  constructor(config: ModelConfig, ops: Ops, groups: ParallelGroups) {
    this.config = config;
    this.ops = ops;
    this.groups = groups;
    this.heads = localHeads(config, groups.coordinates.tp, groups.tpSize);
  }

  bind(
    locals: readonly LocalParam[],
    segments: readonly Tensor[],
    into: 'weights' | 'grads',
  ): void {
    for (const p of locals)
      this[into].set(p.spec.name, this.ops.view(segments[p.segment]!, p.offset, p.shape));
  }

  has(name: string): boolean {
    return this.weights.has(name);
  }
  /** A parameter; CheckpointError if this rank does not hold it. */
  w(name: string): Tensor {
    const t = this.weights.get(name);
    if (!t) throw new CheckpointError(`this rank holds no parameter '${name}'`);
    return t;
  }
  maybe(name: string): Tensor | undefined {
    return this.weights.get(name);
  }
  /** Its gradient, which accumulates. */
  g(name: string): Tensor {
    const t = this.grads.get(name);
    if (!t) throw new CheckpointError(`no gradient for '${name}': it is not trained here`);
    return t;
  }

  get isFirstTp(): boolean {
    return this.groups.coordinates.tp === 0;
  }
  get isFirstStage(): boolean {
    return this.groups.coordinates.pp === 0;
  }
  get isLastStage(): boolean {
    return this.groups.coordinates.pp === this.groups.ppSize - 1;
  }

  /** y = x·Wᵀ + b, or y += …; a bias that is replicated over tp is added by one rank only. */
  linear(
    x: Tensor,
    name: string,
    out: Tensor,
    options: { rowParallel?: boolean; accumulate?: boolean } = {},
  ): void {
    const bias = options.rowParallel && !this.isFirstTp ? undefined : this.maybe(`${name}.bias`);
    this.ops.matmul({
      a: x,
      b: this.w(`${name}.weight`),
      out,
      transB: true,
      ...(bias ? { bias } : {}),
      ...(options.accumulate ? { accumulate: true } : {}),
    });
  }
  /** dx = dy·W (when asked for), dW += dyᵀ·x, db += Σ dy. */
  linearBackward(x: Tensor, name: string, dy: Tensor, dx?: Tensor): void {
    if (dx) this.ops.matmul({ a: dy, b: this.w(`${name}.weight`), out: dx });
    this.ops.matmul({ a: dy, b: x, out: this.g(`${name}.weight`), transA: true, accumulate: true });
    if (this.has(`${name}.bias`)) this.ops.biasBackward(dy, this.g(`${name}.bias`));
  }

  /** Sum over the tensor-parallel group, in place; nothing with one rank. */
  async allReduce(t: Tensor): Promise<void> {
    const comm = this.groups.tp;
    if (!comm || comm.size === 1) return;
    const host = await this.ops.read(t);
    await comm.allReduce(host);
    this.ops.write(t, host);
  }
}

/** Sends or receives a whole tensor between pipeline stages. */
export async function sendTensor(
  ops: Ops,
  comm: Communicator,
  to: number,
  t: Tensor,
): Promise<void> {
  await comm.send(to, await ops.read(t));
}
export async function recvTensor(
  ops: Ops,
  comm: Communicator,
  from: number,
  t: Tensor,
): Promise<void> {
  const host = new Float32Array(t.size);
  await comm.recv(from, host);
  ops.write(t, host);
}

/** A matrix cut into equal column blocks over a group, put together on every rank: [rows, columns of all ranks]. */
export async function gatherColumns(
  comm: Communicator,
  local: Float32Array,
  rows: number,
): Promise<Float32Array> {
  const all = new Float32Array(local.length * comm.size);
  await comm.allGather(local, all);
  const columns = local.length / rows;
  const out = new Float32Array(all.length);
  for (let r = 0; r < comm.size; r++) {
    for (let i = 0; i < rows; i++) {
      const from = r * local.length + i * columns;
      out.set(all.subarray(from, from + columns), (i * comm.size + r) * columns);
    }
  }
  return out;
}
