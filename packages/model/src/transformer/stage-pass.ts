/**
 * One microbatch through the layers of this rank, step by step (StagePass): a pipeline schedule decides which steps of
 * which microbatches come when. Under sequence parallelism the hidden states here are this rank's token rows; the
 * head gets all rows.
 */
import {
  Arena,
  ConfigError,
  type ForwardOptions,
  type ForwardOutput,
  type HeadGrad,
  type PackedBatch,
  type StagePass,
  type Tensor,
} from '@realhf/api';

import { uploadBatch, type BatchTensors } from './batch.js';
import type { BlockSaved } from './block.js';
import { embed, embedBackward } from './embedding.js';
import { finalNorm, finalNormBackward } from './final-norm.js';
import { actorHead, criticHead, type HeadPass } from './heads.js';
import type { Stage } from './stage.js';
import { makeTraining } from './training.js';

interface PassOptions {
  /** Keep only block inputs and run blocks again in backward. */
  readonly checkpointing: boolean;
  readonly logitsBytes: number;
}

export class TransformerPass implements StagePass {
  private readonly model: Stage;
  private readonly batch: PackedBatch;
  private readonly options: ForwardOptions & PassOptions;
  private readonly arena: Arena;
  private readonly inputs: Tensor[] = [];
  private readonly saved: (BlockSaved | undefined)[] = [];
  private b: BatchTensors | undefined;
  /** Input of the first block, later output of the last. */
  private x: Tensor | undefined;
  private dx: Tensor | undefined;
  private head: (HeadPass & { readonly stats: Tensor; readonly all: Tensor }) | undefined;
  private open = true;

  constructor(model: Stage, batch: PackedBatch, options: ForwardOptions & PassOptions) {
    this.model = model;
    this.batch = batch;
    this.options = options;
    this.arena = new Arena(model.ops);
  }

  /** Integers of the batch on the device, made at the first step. */
  private get tensors(): BatchTensors {
    if (this.b) return this.b;
    const { shard } = this.model;
    const b = uploadBatch(this.arena, this.batch, shard, shard.splitsTokens);
    const training = makeTraining(this.arena, shard, this.batch, b, this.options);
    return (this.b = training ? { ...b, training } : b);
  }
  private hidden(): Tensor {
    return this.arena.empty([this.tensors.rows, this.model.config.hiddenDim]);
  }

  async recvActivation(): Promise<void> {
    const { shard, groups } = this.model;
    if (shard.isFirstStage) return;
    this.x = this.hidden();
    await shard.pp!.recv(groups.coordinates.pp - 1, this.x);
  }

  async forward(): Promise<ForwardOutput | undefined> {
    const { shard, blocks, config } = this.model;
    const { arena, options, batch } = this;
    const b = this.tensors;
    let x = this.x ?? this.hidden();
    if (shard.isFirstStage) await embed(shard, b.ids, { tensor: b.rowPositionIds }, x, b.training);
    const train = options.train && !options.checkpointing;
    for (const block of blocks) {
      const out = await block.forward(arena, x, b, { train });
      this.inputs.push(x);
      this.saved.push(out.saved);
      if (!options.train) arena.drop(x);
      x = out.x;
    }
    this.x = x;
    const moe = b.training?.moe;
    if (moe) options.onMoeStats?.(await moe.read());
    if (!shard.isLastStage) return undefined;
    const local = this.hidden();
    const stats = arena.empty([b.rows, 2]);
    finalNorm(shard, x, local, stats);
    const all = await shard.allTokens(arena, local, b.t);
    const hidden = this.unpadded(all);
    const head = config.isCritic
      ? await criticHead(shard, arena, hidden)
      : await actorHead(shard, arena, hidden, batch, options, options.logitsBytes);
    this.head = { ...head, stats, all };
    return head.output;
  }

  async sendActivation(): Promise<void> {
    const { shard, groups } = this.model;
    if (!shard.isLastStage) await shard.pp!.send(groups.coordinates.pp + 1, this.x!);
  }

  async recvGrad(): Promise<void> {
    this.checkTrain();
    const { shard, groups } = this.model;
    this.dx = this.hidden();
    if (!shard.isLastStage) await shard.pp!.recv(groups.coordinates.pp + 1, this.dx);
  }

  async backward(grad: HeadGrad = {}): Promise<void> {
    this.checkTrain();
    const { shard, blocks, ops } = this.model;
    const b = this.tensors;
    const dx = (this.dx ??= this.hidden());
    if (this.head) await this.headBackward(this.head, grad, dx);
    for (let i = blocks.length - 1; i >= 0; i--) {
      const block = blocks[i]!;
      const again = new Arena(ops);
      const s =
        this.saved[i] ?? (await block.forward(again, this.inputs[i]!, b, { train: true })).saved!;
      await block.backward(s, b, dx);
      again.release();
    }
    if (shard.isFirstStage) await embedBackward(shard, b, dx);
  }

  private async headBackward(
    head: HeadPass & { readonly stats: Tensor; readonly all: Tensor },
    grad: HeadGrad,
    dx: Tensor,
  ): Promise<void> {
    const { shard, ops, config, groups } = this.model;
    const { t, rows } = this.tensors;
    const work = new Arena(ops);
    const dAll = work.empty(head.all.shape);
    if (t > this.batch.tokens.length) ops.fill(dAll, 0);
    await head.backward(grad, this.unpadded(dAll));
    let mine = dAll;
    if (rows < t) {
      // Every rank has the gradient of all rows.
      mine = work.empty(dx.shape);
      ops.copy(dAll, mine, mine.size, groups.coordinates.tp * rows * config.hiddenDim, 0);
    }
    finalNormBackward(shard, this.x!, head.stats, mine, dx);
    work.release();
  }

  async sendGrad(): Promise<void> {
    const { shard, groups } = this.model;
    if (!shard.isFirstStage) await shard.pp!.send(groups.coordinates.pp - 1, this.dx!);
    this.release();
  }

  release(): void {
    if (this.open) this.arena.release();
    this.open = false;
  }

  /** The rows of real tokens. */
  private unpadded(all: Tensor): Tensor {
    const n = this.batch.tokens.length;
    return n === all.shape[0] ? all : this.model.ops.view(all, 0, [n, all.shape[1]!]);
  }
  private checkTrain(): void {
    if (!this.open || !this.options.train)
      throw new ConfigError('backward of a pass that was released or not run with train: true');
  }
}
