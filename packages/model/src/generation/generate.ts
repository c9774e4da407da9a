/**
 * Generation with a KV cache: one packed prefill, then decode steps of one token a sequence. Sampling is on the
 * device and its state (step, position, cache end, finished) too, so many steps are recorded before one readback.
 * Attention uses the kernel that training uses, so a sampled log-prob equals the recomputed one.
 */
import {
  Arena,
  ConfigError,
  DataError,
  normalizeGeneration,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type ModelConfig,
  type PackedBatch,
  type Tensor,
} from '@realhf/api';

import { uploadBatch } from '../transformer/batch.js';
import type { KvCache } from '../transformer/block.js';
import { embed } from '../transformer/embedding.js';
import { finalNorm, headName } from '../transformer/final-norm.js';
import {
  makeHeadRows,
  makeQkNormed,
  type HeadRows,
  type QkNormed,
} from '../transformer/head-norms.js';
import type { Stage } from '../transformer/stage.js';
import { collectOutput } from './collect.js';
import { initialState, stateWidth, windowRanges } from './decode-state.js';

/** Decode steps between two looks at which sequences are finished. */
const stepsPerReadback = 16;

export async function generate(
  model: Stage,
  prompts: PackedBatch & { readonly seeds: Uint32Array },
  gconfig: GenerationHyperparameters,
  options: GenerateOptions,
): Promise<GenerateOutput> {
  const g = normalizeGeneration(gconfig);
  const { config, ops, groups } = model;
  if (groups.ppSize > 1)
    throw new ConfigError(
      'generation on a pipeline (pipeline_parallel_size > 1) is not supported; generate in another layout',
    );
  if (config.isCritic)
    throw new ConfigError('a critic or reward model has no vocabulary head and cannot generate');
  const rows = prompts.cuSeqlens.length - 1;
  const longest = checkLengths(prompts.cuSeqlens, g.max_new_tokens, config.maxPositions);
  const arena = new Arena(ops);
  try {
    const cacheLen = longest + g.max_new_tokens;
    const kvWidth = model.shard.heads.nKvHeads * config.headDim;
    const caches: KvCache[] = model.blocks.map(() => ({
      k: arena.empty([rows * cacheLen, kvWidth]),
      v: arena.empty([rows * cacheLen, kvWidth]),
    }));
    const { state, cacheRows } = initialState(prompts.cuSeqlens, cacheLen);
    const sampler = new Sampler(model, arena, g, options, rows, prompts.seeds, state);
    await prefill(model, prompts, caches, cacheRows, sampler);
    const ranges = decodeRanges(arena, prompts.cuSeqlens, cacheLen, g.max_new_tokens - 1, config);
    const decoder = new Decoder(model, arena, caches, sampler, rows, ranges);
    let done = false;
    for (let step = 1; step < g.max_new_tokens && !done; step++) {
      await decoder.step(step);
      if (step % stepsPerReadback === 0) done = await sampler.allFinished();
    }
    return await sampler.output();
  } finally {
    arena.release();
  }
}

/** Key ranges of all decode steps where a window moves them, else none: the state has them. */
function decodeRanges(
  arena: Arena,
  cuSeqlens: Int32Array,
  cacheLen: number,
  steps: number,
  { slidingWindow }: ModelConfig,
): Tensor | undefined {
  if (slidingWindow === undefined || slidingWindow >= cacheLen || steps === 0) return undefined;
  const ranges = windowRanges(cuSeqlens, cacheLen, steps, slidingWindow);
  return arena.fromHost(ranges, [cuSeqlens.length - 1, steps, 2], 'u32');
}

function checkLengths(cuSeqlens: Int32Array, maxNew: number, maxPositions: number): number {
  let longest = 0;
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    const length = cuSeqlens[s + 1]! - cuSeqlens[s]!;
    if (length === 0)
      throw new DataError(`prompt ${s} is empty; generation needs at least one token`);
    if (length + maxNew > maxPositions) {
      throw new DataError(
        `prompt ${s} has ${length} tokens and max_new_tokens is ${maxNew}: together more than the model's context of ${maxPositions}`,
      );
    }
    longest = Math.max(longest, length);
  }
  return longest;
}

/** The warped draw and its logs: tokens, log-probs and, where something can be filtered, kept-token bitmasks. */
class Sampler {
  readonly state: Tensor;
  readonly tokens: Tensor;
  private readonly seeds: Tensor;
  private readonly tokenLog: Tensor;
  private readonly logProbLog: Tensor;
  private readonly maskLog: Tensor | undefined;
  private readonly model: Stage;
  private readonly g: GenerationHyperparameters;
  private readonly options: GenerateOptions;
  private readonly rows: number;

  constructor(
    model: Stage,
    arena: Arena,
    g: GenerationHyperparameters,
    options: GenerateOptions,
    rows: number,
    seeds: Uint32Array,
    state: Uint32Array,
  ) {
    this.model = model;
    this.g = g;
    this.options = options;
    this.rows = rows;
    const vocab = model.config.vocabSize;
    this.state = arena.fromHost(state, [rows, stateWidth], 'u32');
    this.seeds = arena.fromHost(seeds, [rows], 'u32');
    this.tokens = arena.empty([rows], 'i32');
    this.tokenLog = arena.empty([g.max_new_tokens, rows], 'i32');
    this.logProbLog = arena.empty([g.max_new_tokens, rows]);
    const filters =
      g.top_p < 1 || g.top_k < vocab || (g.min_new_tokens > 0 && options.eosTokenId !== null);
    if (filters && !g.greedy && !g.force_no_logits_mask)
      this.maskLog = arena.empty([g.max_new_tokens, rows, Math.ceil(vocab / 32)], 'u32');
  }

  /** logits of hidden [rows, h], one token a row. */
  async sample(hidden: Tensor, logStep: number): Promise<void> {
    const { ops, shard } = this.model;
    const w = shard.w(headName(shard));
    const local = ops.empty([this.rows, w.shape[0]!]);
    ops.matmul({ a: hidden, b: w, out: local, transB: true });
    const logits = await shard.allLogits(local);
    ops.sample({
      logits,
      greedy: this.g.greedy,
      temperature: this.g.temperature,
      topP: this.g.top_p,
      topK: this.g.top_k,
      eosTokenId: this.options.eosTokenId ?? -1,
      padTokenId: this.options.padTokenId ?? this.options.eosTokenId ?? 0,
      minNewTokens: this.g.min_new_tokens,
      seeds: this.seeds,
      state: this.state,
      tokens: this.tokens,
      tokenLog: this.tokenLog,
      logProbLog: this.logProbLog,
      ...(this.maskLog ? { maskLog: this.maskLog } : {}),
      logStep,
    });
    ops.free(local);
    if (logits !== local) ops.free(logits);
  }

  async allFinished(): Promise<boolean> {
    const s = await this.model.ops.readInts(this.state);
    for (let r = 0; r < this.rows; r++) if (s[r * stateWidth + 1] === 0) return false;
    return true;
  }

  async output(): Promise<GenerateOutput> {
    const { ops, config } = this.model;
    const [state, tokens, logProbs, mask] = await Promise.all([
      ops.readInts(this.state),
      ops.readInts(this.tokenLog),
      ops.read(this.logProbLog),
      this.maskLog ? ops.readInts(this.maskLog) : undefined,
    ]);
    return collectOutput({
      rows: this.rows,
      state,
      tokens,
      logProbs,
      ...(mask ? { mask } : {}),
      vocab: config.vocabSize,
    });
  }
}

async function prefill(
  model: Stage,
  prompts: PackedBatch,
  caches: readonly KvCache[],
  cacheRows: Uint32Array,
  sampler: Sampler,
): Promise<void> {
  const { ops, config, shard } = model;
  const arena = new Arena(ops);
  const b = uploadBatch(arena, prompts, shard);
  const h = config.hiddenDim;
  const rows = prompts.cuSeqlens.length - 1;
  const index = arena.fromHost(cacheRows, [b.t], 'u32');
  let x = arena.empty([b.t, h]);
  await embed(shard, b.ids, { tensor: b.positionIds }, x);
  for (const [i, block] of model.blocks.entries()) {
    const out = await block.forward(arena, x, b, {
      train: false,
      cache: caches[i]!,
      cacheRows: index,
    });
    arena.drop(x);
    x = out.x;
  }
  const last = arena.fromHost(
    Uint32Array.from({ length: rows }, (_, s) => prompts.cuSeqlens[s + 1]! - 1),
    [rows],
    'u32',
  );
  const picked = arena.empty([rows, h]);
  ops.gatherRows(x, last, picked);
  const hidden = arena.empty([rows, h]);
  finalNorm(shard, picked, hidden, arena.empty([rows, 2]));
  await sampler.sample(hidden, 0);
  arena.release();
}

/** One decode step on buffers that are made once: the same dispatches every step, so bind groups are reused. */
class Decoder {
  private readonly model: Stage;
  private readonly caches: readonly KvCache[];
  private readonly sampler: Sampler;
  private readonly rows: number;
  private readonly ranges: Tensor | undefined;
  private readonly headRows: HeadRows | undefined;
  private readonly normed: QkNormed | undefined;
  private readonly t: Record<'a' | 'b' | 'n' | 'qkv' | 'attn' | 'pre' | 'act' | 'stats', Tensor>;

  constructor(
    model: Stage,
    arena: Arena,
    caches: readonly KvCache[],
    sampler: Sampler,
    rows: number,
    ranges: Tensor | undefined,
  ) {
    this.model = model;
    this.caches = caches;
    this.sampler = sampler;
    this.rows = rows;
    this.ranges = ranges;
    this.headRows = makeHeadRows(arena, model.shard, rows);
    this.normed = makeQkNormed(arena, model.shard, rows);
    const block = model.blocks[0]!;
    const h = model.config.hiddenDim;
    const make = (width: number) => arena.empty([rows, width]);
    this.t = {
      a: make(h),
      b: make(h),
      n: make(h),
      qkv: make(block.qkvWidth),
      attn: make(block.attnWidth),
      pre: make(block.preWidth),
      act: make(block.inner),
      stats: make(2),
    };
  }

  async step(logStep: number): Promise<void> {
    const { ops, shard, config } = this.model;
    const { a, b, n, qkv, attn, pre, act, stats } = this.t;
    const { state } = this.sampler;
    const positions = { tensor: state, stride: stateWidth, offset: 2 };
    const columns = shard.heads.nKvHeads * config.headDim;
    const heads = this.headRows ? { headRows: this.headRows, normed: this.normed } : {};
    const range = this.ranges
      ? {
          kvRange: this.ranges,
          kvRangeStride: 2 * this.ranges.shape[1]!,
          kvRangeOffset: 2 * (logStep - 1),
        }
      : { kvRange: state, kvRangeStride: stateWidth, kvRangeOffset: 3 };
    await embed(shard, this.sampler.tokens, positions, a);
    for (const [i, block] of this.model.blocks.entries()) {
      const cache = this.caches[i]!;
      const views = block.project(a, n, stats, qkv, positions, heads);
      // The row before the cache's end belongs to the token that is fed now.
      const rows = {
        index: state,
        indexStride: stateWidth,
        indexOffset: 4,
        indexBias: -1,
        rows: this.rows,
        columns,
      };
      ops.scatterRows({ ...rows, src: views.k, dst: cache.k });
      ops.scatterRows({ ...rows, src: views.v, dst: cache.v });
      ops.attention({
        ...block.attentionSpec(),
        q: views.q,
        k: { tensor: cache.k, offset: 0, stride: columns },
        v: { tensor: cache.v, offset: 0, stride: columns },
        ...range,
        out: attn,
        tQ: this.rows,
      });
      await block.attnOutput(a, attn, b);
      await block.mlp(b, n, stats, pre, act, a);
    }
    finalNorm(shard, a, n, stats);
    await this.sampler.sample(n, logStep);
  }
}
