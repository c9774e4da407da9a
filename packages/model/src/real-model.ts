/**
 * ReaLModel: a decoder-only transformer on packed sequences, written once on Ops; implements Network.
 * Parameters live in f32 segments of the flat space (params/), gradients in segments of the same shape.
 * Forward and backward are async and cut at collectives; one device is the case without peers.
 */
import {
  ConfigError,
  type ForwardOptions,
  type ForwardPass,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type LocalParam,
  type ModelConfig,
  type Ops,
  type PackedBatch,
  type ParallelGroups,
  type ParamSpec,
  type ShardInterval,
  type ShardMap,
  type StagePass,
  type Tensor,
} from '@realhf/api';

import { generate } from './generation/generate.js';
import { generatePipelined } from './generation/pipelined.js';
import type { LoraConfig } from './lora/config.js';
import { loraSpecs } from './lora/specs.js';
import { initStd, initValues } from './params/init.js';
import { heldRanges, localRuns, type ElementRange } from './params/local-runs.js';
import { segmentElements } from './params/replica-maps.js';
import { shardMap } from './params/shard-map.js';
import { paramSpecs } from './params/specs.js';
import { Block } from './transformer/block.js';
import { syncGradients } from './transformer/grad-sync.js';
import { ropeTable } from './transformer/rope-table.js';
import { Shard } from './transformer/shard.js';
import { TransformerPass } from './transformer/stage-pass.js';
import type { Stage } from './transformer/stage.js';

/** What a ReaLModel is made of. */
export interface ReaLModelOptions {
  readonly ops: Ops;
  readonly config: ModelConfig;
  /** Default: one device. */
  readonly groups?: ParallelGroups;
  /** Keep only block inputs and run blocks again in backward. Default false. */
  readonly gradientCheckpointing?: boolean;
  /** Bytes of logits held at once. Default 64 MiB. */
  readonly logitsBytes?: number;
  /** Parameters have memory from the start; else allocate() gives it. Default true. */
  readonly allocate?: boolean;
  /**
   * A low-rank adapter on the weights of a model of the same config and rank, which are shared and frozen: the parameters
   * of this one are the adapter's alone. `base` stays what it is, the model without the adapter, and must outlive this one.
   */
  readonly adapter?: { readonly base: ReaLModel; readonly lora: LoraConfig };
}

const alone: ParallelGroups = { coordinates: { pp: 0, dp: 0, tp: 0 }, tpSize: 1, ppSize: 1 };

/** A decoder-only transformer on packed sequences, with its backward pass, on any Ops and in any layout. */
export class ReaLModel implements Stage {
  readonly config: ModelConfig;
  readonly ops: Ops;
  readonly groups: ParallelGroups;
  readonly specs: readonly ParamSpec[];
  readonly locals: readonly LocalParam[];
  readonly shardMap: ShardMap;
  readonly shard: Shard;
  readonly blocks: readonly Block[];
  readonly logitsBytes: number;
  /** The model whose weights an adapter shares, and the adapter's shape. */
  readonly adapter: ReaLModelOptions['adapter'];
  private segments: readonly Tensor[] = [];
  private byParam: Map<string, ShardInterval[]> | undefined;
  private grads: readonly Tensor[] | undefined;
  private readonly cosSin: Tensor | undefined;
  private readonly checkpointing: boolean;

  constructor(options: ReaLModelOptions) {
    const { config, ops, groups = alone } = options;
    this.config = config;
    this.ops = ops;
    this.groups = groups;
    this.checkpointing = options.gradientCheckpointing ?? false;
    this.logitsBytes = Math.min(options.logitsBytes ?? 64 * 2 ** 20, ops.maxTensorBytes);
    this.adapter = options.adapter;
    const lora = options.adapter?.lora;
    this.specs = lora ? loraSpecs(config, lora) : paramSpecs(config);
    const { map, locals } = shardMap(
      config,
      {
        tp: { rank: groups.coordinates.tp, size: groups.tpSize },
        pp: { rank: groups.coordinates.pp, size: groups.ppSize },
      },
      {
        maxSegmentElements: segmentElements(ops.maxTensorBytes, this.dpSize),
        specs: this.specs,
      },
    );
    this.locals = locals;
    this.shardMap = map;
    this.shard = new Shard(config, ops, groups, lora);
    if (options.allocate ?? true) this.allocate();
    this.cosSin = options.adapter ? options.adapter.base.cosSin : rotations(config, ops);
    const held = options.adapter?.base.locals ?? locals;
    const layers = [...new Set(held.map((p) => p.spec.layer))]
      .filter((l) => l >= 1 && l <= config.nLayers)
      .sort((a, b) => a - b);
    this.blocks = layers.map((l) => new Block(this.shard, l, this.cosSin));
  }

  /** Segments of parameters; none while they have no memory. */
  get params(): readonly Tensor[] {
    return this.segments;
  }

  /** Gives parameters memory (zeros) if they have none: a replica that a reallocation fills. */
  allocate(): void {
    if (this.segments.length > 0) return;
    this.segments = this.shardMap.segmentSizes.map((n) => this.ops.zeros([this.padded(n)]));
    const { base } = this.adapter ?? {};
    if (base) this.shard.bind(base.locals, base.params, 'weights');
    this.shard.bind(this.locals, this.segments, 'weights');
  }

  /** Frees parameters and gradients of a replica that is not needed until the next reallocation. */
  deallocate(): void {
    this.ops.free(...this.segments, ...(this.grads ?? []));
    this.shard.unbind();
    this.segments = [];
    this.grads = undefined;
  }

  private get dpSize(): number {
    return this.groups.dp?.size ?? 1;
  }
  /** The next number of elements that data-parallel ranks can share in multiples of 64. */
  private padded(elements: number): number {
    const unit = 64 * this.dpSize;
    return Math.ceil(elements / unit) * unit;
  }

  /** Fills parameters from a seed: the values do not depend on the layout. `only` restricts it to some names. */
  init(seed: number, only: (name: string) => boolean = () => true): void {
    for (const spec of this.specs) {
      if (!only(spec.name)) continue;
      const std = initStd(this.config, spec);
      this.place(spec.name, [0, spec.size], (begin, end) =>
        initValues(spec, spec.offset + begin, spec.offset + end, seed, std),
      );
    }
  }

  /** Overwrites this rank's part of a parameter with the full tensor (row-major, of the spec's shape). */
  load(name: string, full: Float32Array): void {
    const spec = this.specs.find((s) => s.name === name);
    if (spec?.size !== full.length)
      throw new ConfigError(
        `parameter '${name}' has ${spec?.size ?? 0} elements, got ${full.length}`,
      );
    this.loadRange(name, 0, full);
  }

  /** Overwrites what this rank holds of a parameter's elements from `begin` on. */
  loadRange(name: string, begin: number, values: Float32Array): void {
    this.place(name, [begin, begin + values.length], (from, to) =>
      values.subarray(from - begin, to - begin),
    );
  }

  private place(
    name: string,
    range: ElementRange,
    values: (begin: number, end: number) => Float32Array,
  ): void {
    const base = this.specs.find((s) => s.name === name)?.offset ?? 0;
    for (const run of localRuns(this.intervalsOf(name), base, range, values))
      this.ops.write(this.params[run.segment]!, run.values, run.offset);
  }

  /** The elements of a parameter that this rank needs from a checkpoint, small gaps closed. */
  heldRanges(name: string): readonly ElementRange[] {
    return heldRanges(this.intervalsOf(name), this.specs.find((s) => s.name === name)?.offset ?? 0);
  }

  private intervalsOf(name: string): readonly ShardInterval[] {
    if (!this.byParam) {
      this.byParam = new Map();
      for (const i of this.shardMap.intervals) {
        const held = this.byParam.get(i.param);
        if (held) held.push(i);
        else this.byParam.set(i.param, [i]);
      }
    }
    return this.byParam.get(name) ?? [];
  }

  /** This rank's part of a parameter (or of its gradient) in a full-sized array, zeros elsewhere. */
  async dump(name: string, what: 'params' | 'grads' = 'params'): Promise<Float32Array> {
    const spec = this.specs.find((s) => s.name === name);
    if (!spec) throw new ConfigError(`no parameter '${name}'`);
    const out = new Float32Array(spec.size);
    const segments = what === 'params' ? this.params : this.gradients();
    const held = this.intervalsOf(name);
    for (const p of this.locals.filter((l) => l.spec.name === name)) {
      const size = p.shape.reduce((x, y) => x * y, 1);
      const local = await this.ops.read(segments[p.segment]!, p.offset, size);
      for (const i of held) {
        const at = i.local - p.offset;
        if (i.segment === p.segment && at >= 0 && at < size)
          out.set(local.subarray(at, at + i.length), i.global - spec.offset);
      }
    }
    return out;
  }

  gradients(): readonly Tensor[] {
    if (!this.grads) {
      this.grads = this.params.map((p) => this.ops.zeros(p.shape));
      this.shard.bind(this.locals, this.grads, 'grads');
    }
    return this.grads;
  }

  pass(batch: PackedBatch, options: ForwardOptions): StagePass {
    if (options.train) this.gradients();
    const { checkpointing, logitsBytes } = this;
    return new TransformerPass(this, batch, { ...options, checkpointing, logitsBytes });
  }

  async forward(batch: PackedBatch, options: ForwardOptions): Promise<ForwardPass> {
    const pass = this.pass(batch, options);
    try {
      await pass.recvActivation();
      const output = await pass.forward();
      await pass.sendActivation();
      if (!options.train) pass.release();
      return {
        ...(output ? { output } : {}),
        release: () => {
          pass.release();
        },
        backward: async (grad) => {
          await pass.recvGrad();
          await pass.backward(grad);
          await pass.sendGrad();
        },
      };
    } catch (e) {
      pass.release();
      throw e;
    }
  }

  finishGradients(): Promise<void> {
    return syncGradients(this);
  }

  generate(
    prompts: PackedBatch & { readonly seeds: Uint32Array },
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput> {
    const run = this.groups.ppSize > 1 ? generatePipelined : generate;
    return run(this, prompts, gconfig, options);
  }

  free(): void {
    this.deallocate();
    this.shard.adapter?.free();
    if (this.cosSin && !this.adapter) this.ops.free(this.cosSin);
  }
}

function rotations(config: ModelConfig, ops: Ops): Tensor | undefined {
  const table = ropeTable(config);
  return table && ops.fromHost(table, [config.maxPositions, config.headDim]);
}
