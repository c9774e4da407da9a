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
  sampleOptionWords,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type PackedBatch,
  type Tensor,
} from '@realhf/api';
import { tokenBudgetParts } from '@realhf/packing';

import type { Stage } from '../transformer/stage.js';
import { stateWidth } from './decode-state.js';
import { Draws } from './draws.js';
import { joinKept } from './kept-sets.js';
import { outputOfLastStage } from './pipeline-output.js';
import { slotCount, turnOf } from './pipeline-slots.js';
import { filters, sampleOptions, type GenerationRequest } from './request.js';
import { logitsOf } from './rows-pass.js';
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
  const { config, ops, groups, shard } = model;
  if (config.isCritic)
    throw new ConfigError('a critic or reward model has no vocabulary head and cannot generate');
  const lengths = promptLengths(prompts.cuSeqlens, gconfig.max_new_tokens, config.maxPositions);
  const parts = tokenBudgetParts(lengths, {
    nMbs: Math.max(options.nMbs ?? 1, groups.ppSize),
    ...(options.maxTokensPerMb === undefined ? {} : { maxTokens: options.maxTokensPerMb }),
  });
  const arena = new Arena(ops);
  const microbatches: Microbatch[] = [];
  try {
    for (const [begin, end] of parts) {
      const part = slicePrompts(prompts, begin, end);
      microbatches.push(new Microbatch(model, arena, part, gconfig, options));
    }
    await new Ring(model, microbatches, gconfig.max_new_tokens).run();
    const outs: GenerateOutput[] = [];
    for (const mb of microbatches) {
      const out = await mb.output();
      if (out) outs.push(out);
    }
    const whole: GenerateOutput = {
      tokens: outs.flatMap((o) => o.tokens),
      logProbs: outs.flatMap((o) => o.logProbs),
      noEos: outs.flatMap((o) => o.noEos),
      ...(outs.every((o) => o.masks) ? { masks: outs.flatMap((o) => o.masks ?? []) } : {}),
    };
    return await outputOfLastStage(groups.pp!, shard.isLastStage ? whole : undefined);
  } finally {
    for (const mb of microbatches) mb.free();
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

/** A microbatch on this stage: its layers and, on the last stage, the draws. */
class Microbatch {
  readonly decoder: StageDecoder;
  private readonly model: Stage;
  private readonly prompts: Prompts;
  private readonly stopIds: readonly number[];
  private readonly record: boolean;
  private readonly draws: Draws | undefined;

  constructor(
    model: Stage,
    arena: Arena,
    prompts: Prompts,
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ) {
    this.model = model;
    this.prompts = prompts;
    const { cuSeqlens, tokens, seeds } = prompts;
    const { vocabSize } = model.config;
    const steps = gconfig.max_new_tokens;
    const eos = options.eosTokenId;
    const stopIds = [...new Set([...(eos === null ? [] : [eos]), ...(options.stopIds ?? [])])];
    this.stopIds = stopIds;
    const requests = Array.from(seeds, (seed, s): GenerationRequest => {
      const prompt = tokens.subarray(cuSeqlens[s], cuSeqlens[s + 1]);
      return { prompt, gconfig, seed, stopIds };
    });
    const rows = requests.length;
    const longest = Math.max(...requests.map((r) => r.prompt.length));
    this.decoder = new StageDecoder(model, arena, prompts, longest + steps, steps);
    this.record = !gconfig.force_no_logits_mask && filters(gconfig, stopIds, vocabSize);
    if (!model.shard.isLastStage) return;
    const sampling = new Uint32Array(rows * sampleOptionWords);
    requests.forEach((r, s) => {
      sampling.set(sampleOptions(r, vocabSize), s * sampleOptionWords);
    });
    this.draws = new Draws(model, {
      rows,
      steps,
      state: new Uint32Array(rows * stateWidth),
      options: sampling,
      padTokenId: options.padTokenId ?? eos ?? 0,
      record: this.record,
    });
  }

  /** On the last stage: samples from its output; true if all sequences are known to have finished. */
  async sample(x: Tensor, token: number): Promise<boolean> {
    const { ops, config } = this.model;
    const { rows } = this.decoder;
    const draws = this.draws!;
    const work = new Arena(ops);
    let last = x;
    if (token === 0) {
      const index = Uint32Array.from(
        { length: rows },
        (_, s) => this.prompts.cuSeqlens[s + 1]! - 1,
      );
      last = work.empty([rows, config.hiddenDim]);
      ops.gatherRows(x, work.fromHost(index, [rows], 'u32'), last);
    }
    draws.draw(work.own(await logitsOf(this.model, last)));
    work.release();
    if (token % stepsPerCheck !== stepsPerCheck - 1) return false;
    const state = await ops.readInts(draws.state);
    for (let r = 0; r < rows; r++) if (state[r * stateWidth + 1] === 0) return false;
    return true;
  }
  /** On the last stage: what to feed next. */
  get drawn(): Tensor {
    return this.draws!.tokens;
  }

  /** On the last stage, what was sampled. */
  async output(): Promise<GenerateOutput | undefined> {
    if (!this.draws) return undefined;
    const state = await this.model.ops.readInts(this.draws.state);
    const drawn = await this.draws.read();
    const { tokens, logProbs } = drawn;
    const { rows } = this.decoder;
    const out = Array.from({ length: rows }, (_, r) => {
      // The state counts what was sampled before the sequence finished, its stop token included.
      const length = state[r * stateWidth]!;
      const last = length === 0 ? -1 : tokens[(length - 1) * rows + r]!;
      return {
        tokens: Int32Array.from({ length }, (_, s) => tokens[s * rows + r]!),
        logProbs: Float32Array.from({ length }, (_, s) => logProbs[s * rows + r]!),
        noEos: !this.stopIds.includes(last),
        masks: this.record
          ? joinKept(Array.from({ length }, (_, s) => drawn.kept(s, r)))
          : undefined,
      };
    });
    return {
      tokens: out.map((o) => o.tokens),
      logProbs: out.map((o) => o.logProbs),
      noEos: out.map((o) => o.noEos),
      ...(this.record ? { masks: out.map((o) => o.masks!) } : {}),
    };
  }

  free(): void {
    this.draws?.free();
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
    return () => (finished ? this.send(ended) : this.send(goesOn, mb.drawn));
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
