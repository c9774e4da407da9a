/**
 * Generation on a pipeline: microbatches of sequences take turns on the stages (pipeline-slots.ts), so that all stages
 * work. The last stage samples and sends the tokens to the first, with the draws of a single rank: they depend on a
 * sequence's seed and step alone. A microbatch whose sequences have all finished is dropped: its end goes round the ring
 * in place of its tokens and hidden states, and a stage without microbatches stops. All stages return the whole output.
 */
import {
  Arena,
  ConfigError,
  DataError,
  normalizeGeneration,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type PackedBatch,
  type Tensor,
} from '@realhf/api';
import { tokenBudgetParts } from '@realhf/packing';

import { finalNorm, headName } from '../transformer/final-norm.js';
import type { Stage } from '../transformer/stage.js';
import { collectOutput } from './collect.js';
import { initialState, stateWidth } from './decode-state.js';
import { slotCount, turnOf } from './pipeline-slots.js';
import { StageDecoder } from './stage-decoder.js';

type Prompts = PackedBatch & { readonly seeds: Uint32Array };

/** Tokens between two looks at which sequences of a microbatch have finished. */
const stepsPerCheck = 4;

/** First word of a message: hidden states or tokens follow, or the microbatch has ended. */
const goesOn = 1;
const ended = 0;

/** Collective over the ranks of one pipeline, which get the same prompts. */
export async function generatePipelined(
  model: Stage,
  prompts: Prompts,
  gconfig: GenerationHyperparameters,
  options: GenerateOptions,
): Promise<GenerateOutput> {
  const g = normalizeGeneration(gconfig);
  const { config, ops, groups } = model;
  if (config.isCritic)
    throw new ConfigError('a critic or reward model has no vocabulary head and cannot generate');
  const lengths = promptLengths(prompts.cuSeqlens, g.max_new_tokens, config.maxPositions);
  const parts = tokenBudgetParts(lengths, {
    nMbs: Math.max(options.nMbs ?? 1, groups.ppSize),
    ...(options.maxTokensPerMb === undefined ? {} : { maxTokens: options.maxTokensPerMb }),
  });
  const arena = new Arena(ops);
  try {
    const microbatches = parts.map(([begin, end]) => {
      const part = slicePrompts(prompts, begin, end);
      return new Microbatch(model, arena, part, g, options);
    });
    await new Ring(model, microbatches, g.max_new_tokens).run();
    const outs: GenerateOutput[] = [];
    for (const mb of microbatches) outs.push(await mb.output());
    return {
      tokens: outs.flatMap((o) => o.tokens),
      logProbs: outs.flatMap((o) => o.logProbs),
      noEos: outs.flatMap((o) => o.noEos),
      ...(outs.every((o) => o.masks) ? { masks: outs.flatMap((o) => o.masks ?? []) } : {}),
    };
  } finally {
    arena.release();
  }
}

function promptLengths(cuSeqlens: Int32Array, maxNew: number, maxPositions: number): number[] {
  return Array.from({ length: cuSeqlens.length - 1 }, (_, s) => {
    const length = cuSeqlens[s + 1]! - cuSeqlens[s]!;
    if (length === 0)
      throw new DataError(`prompt ${s} is empty; generation needs at least one token`);
    if (length + maxNew > maxPositions)
      throw new DataError(
        `prompt ${s} has ${length} tokens and max_new_tokens is ${maxNew}: together more than the model's context of ${maxPositions}`,
      );
    return length;
  });
}

function slicePrompts({ tokens, cuSeqlens, seeds }: Prompts, begin: number, end: number): Prompts {
  const first = cuSeqlens[begin]!;
  return {
    tokens: tokens.subarray(first, cuSeqlens[end]),
    cuSeqlens: cuSeqlens.slice(begin, end + 1).map((c) => c - first),
    seeds: seeds.subarray(begin, end),
  };
}

/** A microbatch on this stage: its layers and, on the last stage, the sampler and its logs. */
class Microbatch {
  readonly decoder: StageDecoder;
  private readonly model: Stage;
  private readonly prompts: Prompts;
  private readonly g: GenerationHyperparameters;
  private readonly options: GenerateOptions;
  private readonly logs: {
    readonly state: Tensor;
    readonly tokens: Tensor;
    readonly logProbs: Tensor;
    readonly mask: Tensor | undefined;
    readonly seeds: Tensor;
  };

  constructor(
    model: Stage,
    arena: Arena,
    prompts: Prompts,
    g: GenerationHyperparameters,
    options: GenerateOptions,
  ) {
    this.model = model;
    this.prompts = prompts;
    this.g = g;
    this.options = options;
    const { cuSeqlens } = prompts;
    const rows = cuSeqlens.length - 1;
    let longest = 0;
    for (let s = 0; s < rows; s++) longest = Math.max(longest, cuSeqlens[s + 1]! - cuSeqlens[s]!);
    const cacheLen = longest + g.max_new_tokens;
    this.decoder = new StageDecoder(model, arena, prompts, cacheLen, g.max_new_tokens);
    const vocab = model.config.vocabSize;
    const filters =
      g.top_p < 1 || g.top_k < vocab || (g.min_new_tokens > 0 && options.eosTokenId !== null);
    const steps = g.max_new_tokens;
    this.logs = {
      state: arena.fromHost(initialState(cuSeqlens, cacheLen).state, [rows, stateWidth], 'u32'),
      seeds: arena.fromHost(prompts.seeds, [rows], 'u32'),
      tokens: arena.empty([steps, rows], 'i32'),
      logProbs: arena.empty([steps, rows]),
      mask:
        filters && !g.greedy && !g.force_no_logits_mask
          ? arena.empty([steps, rows, Math.ceil(vocab / 32)], 'u32')
          : undefined,
    };
  }

  /** On the last stage: samples from its output; true if all sequences are known to have finished. */
  async sample(x: Tensor, token: number): Promise<boolean> {
    const { ops, shard, config } = this.model;
    const { rows } = this.decoder;
    const work = new Arena(ops);
    const h = config.hiddenDim;
    let last = x;
    if (token === 0) {
      const index = Uint32Array.from(
        { length: rows },
        (_, s) => this.prompts.cuSeqlens[s + 1]! - 1,
      );
      last = work.empty([rows, h]);
      ops.gatherRows(x, work.fromHost(index, [rows], 'u32'), last);
    }
    const hidden = work.empty([rows, h]);
    finalNorm(shard, last, hidden, work.empty([rows, 2]));
    const w = shard.w(headName(shard));
    const local = work.empty([rows, w.shape[0]!]);
    ops.matmul({ a: hidden, b: w, out: local, transB: true });
    const logits = work.own(await shard.allLogits(local));
    const { eosTokenId, padTokenId } = this.options;
    ops.sample({
      logits,
      greedy: this.g.greedy,
      temperature: this.g.temperature,
      topP: this.g.top_p,
      topK: this.g.top_k,
      eosTokenId: eosTokenId ?? -1,
      padTokenId: padTokenId ?? eosTokenId ?? 0,
      minNewTokens: this.g.min_new_tokens,
      seeds: this.logs.seeds,
      state: this.logs.state,
      tokens: this.decoder.tokens,
      tokenLog: this.logs.tokens,
      logProbLog: this.logs.logProbs,
      ...(this.logs.mask ? { maskLog: this.logs.mask } : {}),
      logStep: token,
    });
    work.release();
    if (eosTokenId === null || token % stepsPerCheck !== stepsPerCheck - 1) return false;
    const state = await ops.readInts(this.logs.state);
    for (let r = 0; r < rows; r++) if (state[r * stateWidth + 1] === 0) return false;
    return true;
  }

  /** What the last stage sampled, on every stage: collective over the pipeline. */
  async output(): Promise<GenerateOutput> {
    const { ops, shard, groups, config } = this.model;
    const { state, tokens, logProbs, mask } = this.logs;
    const all = [state, tokens, logProbs, ...(mask ? [mask] : [])];
    for (const t of all) await shard.pp!.broadcast(t, groups.ppSize - 1);
    return collectOutput({
      rows: this.decoder.rows,
      state: await ops.readInts(state),
      tokens: await ops.readInts(tokens),
      logProbs: await ops.read(logProbs),
      ...(mask ? { mask: await ops.readInts(mask) } : {}),
      vocab: config.vocabSize,
    });
  }
}

/** The loop over slots of one stage. */
class Ring {
  private readonly model: Stage;
  private readonly microbatches: readonly Microbatch[];
  private readonly maxNew: number;
  private readonly stage: number;
  private readonly stages: number;
  /** Microbatches whose end has arrived, and those with which this stage has nothing to do any more. */
  private readonly arrivedEnd = new Set<number>();
  private readonly left = new Set<number>();

  constructor(model: Stage, microbatches: readonly Microbatch[], maxNew: number) {
    this.model = model;
    this.microbatches = microbatches;
    this.maxNew = maxNew;
    this.stage = model.groups.coordinates.pp;
    this.stages = model.groups.ppSize;
  }

  async run(): Promise<void> {
    const { stage, stages, maxNew } = this;
    const n = this.microbatches.length;
    const slots = slotCount(stage, stages, n, maxNew);
    for (let slot = 0; slot < slots && this.left.size < n; slot++) {
      const send = await this.turn(slot);
      // Sends may wait for their receiver: in a ring somebody has to receive first.
      if (stage % 2 === 0) await send?.();
      await this.receive(slot);
      if (stage % 2 === 1) await send?.();
    }
  }

  /** Computes what this slot is for and returns how to send it, if it goes anywhere. */
  private async turn(slot: number): Promise<(() => Promise<void>) | undefined> {
    const { stage, stages, maxNew } = this;
    const now = turnOf(slot, stage, stages, this.microbatches.length);
    if (!now || now.token >= maxNew || this.left.has(now.microbatch)) return undefined;
    const { microbatch, token } = now;
    const mb = this.microbatches[microbatch]!;
    const last = stage === stages - 1;
    if (this.arrivedEnd.has(microbatch)) {
      this.left.add(microbatch);
      return last ? undefined : () => this.send(ended);
    }
    if (token === maxNew - 1) this.left.add(microbatch);
    const x = await mb.decoder.run(token);
    if (!last)
      return async () => {
        await this.send(goesOn, x);
        if (token === 0) mb.decoder.endPrefill();
      };
    const finished = await mb.sample(x, token);
    if (token === 0) mb.decoder.endPrefill();
    if (token === maxNew - 1) return undefined;
    return () => (finished ? this.send(ended) : this.send(goesOn, mb.decoder.tokens));
  }

  private async send(word: number, t?: Tensor): Promise<void> {
    const to = (this.stage + 1) % this.stages;
    await this.model.groups.pp!.send(to, Uint32Array.of(word));
    if (t) await this.model.shard.pp!.send(to, t);
  }

  /** What the previous stage made in this slot. */
  private async receive(slot: number): Promise<void> {
    const { stage, stages, maxNew } = this;
    const from = (stage + stages - 1) % stages;
    const theirs = turnOf(slot, from, stages, this.microbatches.length);
    // Of the tokens of the last stage the first needs all but the last.
    const needed = stage === 0 ? maxNew - 1 : maxNew;
    if (!theirs || theirs.token >= needed || this.arrivedEnd.has(theirs.microbatch)) return;
    const word = new Uint32Array(1);
    await this.model.groups.pp!.recv(from, word);
    if (word[0] === ended) {
      this.arrivedEnd.add(theirs.microbatch);
      return;
    }
    const { decoder } = this.microbatches[theirs.microbatch]!;
    const into = stage === 0 ? decoder.tokens : decoder.input(theirs.token);
    await this.model.shard.pp!.recv(from, into);
  }
}
