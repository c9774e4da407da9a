/**
 * GenerationEngine: sequences join and leave the running batch between rounds. A round runs a chunk of prompt tokens and
 * up to `stepsPerRead` decode steps, with one look at the results after it. Keys and values are in pages of one pool per
 * layer within a memory budget; what does not fit waits, first come first served (see scheduler.ts). A sequence's tokens
 * and log-probs depend on its request alone, never on what runs beside it. Over tensor-parallel ranks every rank makes
 * the same calls; requests that are cancelled or come while it runs are for one device.
 */
import { Arena, ConfigError, DataError, type Ops } from '@realhf/api';

import { localHeads } from '../transformer/shard.js';
import type { Stage } from '../transformer/stage.js';
import { decodeRound, prefillChunk } from './engine-steps.js';
import { PagePool } from './page-pool.js';
import { checkRequest, type GenerationRequest } from './request.js';
import type { LayerPools } from './rows-pass.js';
import { RunningSequence, type Generation } from './running-sequence.js';
import { Scheduler, type Slot } from './scheduler.js';
import { makeStepper, type Stepper } from './steppers.js';

/** Memory and batch sizes of a generation engine. */
export interface GenerationEngineOptions {
  /** Most bytes of keys and values of all layers on this rank (the largest of its group). Default: no limit but kvTokens. */
  readonly kvBytes?: number;
  /** Most tokens in the cache. Default: maxSequences times the model's context; 65,536 at most without kvBytes. */
  readonly kvTokens?: number;
  /** Tokens of a page, a power of two. Default 16. */
  readonly pageSize?: number;
  /** Sequences that run at once. Default 256. */
  readonly maxSequences?: number;
  /** Prompt tokens that run in one pass. Default 4096. */
  readonly prefillTokens?: number;
  /** Decode steps between two looks at the results. Default 8. */
  readonly stepsPerRead?: number;
  /** Chunks of prompts before decoding goes on; Infinity (default) fills the batch first, 1 keeps running sequences flowing. */
  readonly chunksPerRound?: number;
  /**
   * Who waits is admitted by max_new_tokens, the largest first, so that no long answer is left to run alone at the end. Only
   * for requests that are made together: others might wait for ever. Default false, by arrival.
   */
  readonly longestFirst?: boolean;
  /** Fed to rows that have finished; anything in the vocabulary. Default 0. */
  readonly padTokenId?: number;
  /** Token ids to text, for stop strings and text in events. */
  readonly decode?: (ids: readonly number[]) => string;
}

/** What an engine has done. */
export interface EngineCounts {
  rounds: number;
  decodeSteps: number;
  /** Rows of all decode steps, and of them those that finished sequences left empty. */
  decodeRows: number;
  emptyRows: number;
  /** Prompt tokens that ran, and those that were found in pages. */
  promptTokens: number;
  sharedTokens: number;
  generatedTokens: number;
}

/** Generates for many requests at once: continuous batching over a paged KV cache. */
export class GenerationEngine {
  readonly model: Stage;
  readonly counts: EngineCounts = {
    rounds: 0,
    decodeSteps: 0,
    decodeRows: 0,
    emptyRows: 0,
    promptTokens: 0,
    sharedTokens: 0,
    generatedTokens: 0,
  };
  private readonly options: Required<
    Omit<GenerationEngineOptions, 'kvBytes' | 'kvTokens' | 'decode'>
  >;
  private readonly decode: GenerationEngineOptions['decode'];
  private readonly arena: Arena;
  private readonly pools: readonly LayerPools[];
  private readonly scheduler: Scheduler<RunningSequence>;
  /** With a complete prompt, in order of arrival. */
  private active: Slot<RunningSequence>[] = [];
  private stepper: Stepper | undefined;
  private loop: Promise<void> | undefined;

  /** Throws ConfigError where the model cannot generate or the budget holds no page. */
  constructor(model: Stage, options: GenerationEngineOptions = {}) {
    const { config, groups, ops } = model;
    if (groups.ppSize > 1)
      throw new ConfigError(
        'a GenerationEngine runs on one pipeline stage; use Network.generate with pipeline_parallel_size > 1',
      );
    if (config.isCritic)
      throw new ConfigError('a critic or reward model has no vocabulary head and cannot generate');
    this.model = model;
    const most = Math.floor(ops.maxTensorBytes / (4 * config.vocabSize));
    this.options = {
      pageSize: options.pageSize ?? 16,
      maxSequences: Math.max(1, Math.min(options.maxSequences ?? 256, most)),
      prefillTokens: options.prefillTokens ?? 4096,
      stepsPerRead: options.stepsPerRead ?? 8,
      chunksPerRound: options.chunksPerRound ?? Infinity,
      longestFirst: options.longestFirst ?? false,
      padTokenId: options.padTokenId ?? 0,
    };
    this.decode = options.decode;
    const pages = pagesWithin(model, this.options, options);
    this.arena = new Arena(ops);
    const columns = model.shard.heads.nKvHeads * config.headDim;
    const shape = [pages * this.options.pageSize, columns];
    this.pools = model.blocks.map(() => ({
      kPool: this.arena.empty(shape),
      vPool: this.arena.empty(shape),
    }));
    this.scheduler = new Scheduler(new PagePool(pages, this.options.pageSize), this.options);
  }

  /** Bytes of keys and values. */
  get kvBytes(): number {
    return this.pools.reduce((n, p) => n + 4 * (p.kPool.size + p.vPool.size), 0);
  }
  /** Sequences that wait for memory or a place, and that have one. */
  get waiting(): number {
    return this.scheduler.waiting.length;
  }
  get running(): number {
    return this.scheduler.running;
  }

  /** Queues a request. Throws DataError when it can never run. */
  submit(request: GenerationRequest): Generation {
    checkRequest(request, this.model.config);
    if (request.stopStrings?.length && !this.decode)
      throw new DataError('stop strings need an engine with a tokenizer; give it `decode`');
    const sequence = new RunningSequence(request, this.model.config.vocabSize, this.decode, () =>
      this.run(),
    );
    const { pool } = this.scheduler;
    const need = this.scheduler.pagesOf(sequence);
    if (need > pool.pages)
      throw new DataError(
        `a prompt of ${request.prompt.length} tokens and max_new_tokens ${request.gconfig.max_new_tokens} need ${need} pages of ${pool.pageSize} tokens, the KV budget has ${pool.pages}; raise it or ask for fewer tokens`,
      );
    this.scheduler.enqueue(sequence);
    return sequence.generation;
  }

  /** Runs until nothing is left; the same promise while it runs. */
  run(): Promise<void> {
    this.loop ??= this.rounds().finally(() => {
      this.loop = undefined;
    });
    return this.loop;
  }

  /** Prompts are computed anew: call it when the weights have changed. */
  forgetPrompts(): void {
    this.scheduler.pool.clear();
  }

  /** Call when nothing runs. */
  free(): void {
    this.stepper?.free();
    this.arena.release();
  }

  private async rounds(): Promise<void> {
    try {
      // Requests that are made together run together.
      await Promise.resolve();
      while (this.scheduler.waiting.length > 0 || this.scheduler.running > 0) await this.round();
    } catch (error) {
      for (const s of this.scheduler.waiting.splice(0)) s.fail(error);
      for (const slot of this.scheduler.abandon()) slot.sequence.fail(error);
      this.active = [];
      throw error;
    }
  }

  private async round(): Promise<void> {
    this.dropCancelled();
    const { model, scheduler, options, counts, pools } = this;
    const fresh: Awaited<ReturnType<typeof prefillChunk>>[] = [];
    for (let i = 0; i < options.chunksPerRound; i++) {
      const chunk = scheduler.nextChunk();
      if (!chunk) break;
      counts.promptTokens += chunk.pieces.reduce((n, p) => n + p.end - p.begin, 0);
      const firstLine = fresh.reduce((n, f) => n + f.slots.length, this.active.length);
      fresh.push(await prefillChunk(model, chunk, pools, options, firstLine));
    }
    counts.sharedTokens = scheduler.sharedTokens;
    const old = this.active;
    this.active = [...old, ...fresh.flatMap((f) => f.slots)];
    if (this.active.length > 0) {
      const rows = this.active.length;
      this.stepper ??= makeStepper(model, pools, options.maxSequences);
      const round = await decodeRound(model, this.stepper, { old, fresh }, options);
      counts.decodeSteps += round.steps;
      counts.decodeRows += round.steps * rows;
      counts.emptyRows += round.empty;
      counts.generatedTokens += round.tokens;
    }
    counts.rounds++;
    this.active = this.active.filter((slot) => {
      if (!slot.sequence.finished) return true;
      scheduler.release(slot);
      return false;
    });
    for (const f of fresh) f.free();
  }

  private dropCancelled(): void {
    for (const s of [...this.scheduler.waiting])
      if (s.cancelled && this.scheduler.withdraw(s)) s.finish('cancelled');
    // A prompt that is being computed may have been promised to others: it is dropped when it is complete.
    for (const slot of this.active)
      if (slot.sequence.cancelled) {
        slot.sequence.finish('cancelled');
        this.scheduler.release(slot);
      }
    this.active = this.active.filter((slot) => !slot.sequence.finished);
  }
}

/** Pages of the budget, the same on all ranks of a tensor-parallel group. */
function pagesWithin(
  { config, groups, ops }: { config: Stage['config']; groups: Stage['groups']; ops: Ops },
  { pageSize, maxSequences }: { readonly pageSize: number; readonly maxSequences: number },
  { kvBytes, kvTokens }: GenerationEngineOptions,
): number {
  const heads = Array.from(
    { length: groups.tpSize },
    (_, r) => localHeads(config, r, groups.tpSize).nKvHeads,
  );
  const row = 4 * Math.max(...heads) * config.headDim;
  const page = 2 * config.nLayers * row * pageSize;
  const all = maxSequences * config.maxPositions;
  const tokens = kvTokens ?? (kvBytes === undefined ? Math.min(all, 65_536) : all);
  const pages = Math.min(
    Math.ceil(tokens / pageSize),
    kvBytes === undefined ? Infinity : Math.floor(kvBytes / page),
  );
  const most = Math.floor(ops.maxTensorBytes / (row * pageSize));
  if (Math.min(pages, most) < 1)
    throw new ConfigError(
      `a KV budget of ${kvBytes ?? 0} bytes holds no page of ${pageSize} tokens (${page} bytes); raise it`,
    );
  return Math.min(pages, most);
}
