/**
 * Who runs when, first come first served (or who may become longest). Integers only: the same requests in the same order give the same decisions on
 * every rank. A sequence is admitted when pages for its prompt and all its new tokens are free, so it never has to be
 * put out again. Prompts run in chunks of a token budget; equal prompts that wait together run once.
 */
import type { PagePool } from './page-pool.js';

export interface Sequence {
  readonly prompt: Int32Array;
  readonly maxNewTokens: number;
}

/** An admitted sequence. */
export interface Slot<S extends Sequence> {
  readonly sequence: S;
  /** Of the prompt and all new tokens; the first may be shared. */
  readonly pages: readonly number[];
  /** Prompt tokens whose keys are in pages when what is planned has run. */
  computed: number;
  /** Slots with the same prompt, which take over its keys when it has run. */
  readonly followers: Slot<S>[];
}

/** Tokens begin ≤ i < end of a slot's prompt. */
export interface Piece<S extends Sequence> {
  readonly slot: Slot<S>;
  readonly begin: number;
  readonly end: number;
}

/** One pass over prompt tokens. */
export interface Chunk<S extends Sequence> {
  readonly pieces: readonly Piece<S>[];
  /** All pieces are whole prompts: they attend to nothing but each other's own keys. */
  readonly whole: boolean;
  /** Pages to copy, [from, to], for slots that share a prompt. */
  readonly copies: readonly (readonly [from: number, to: number])[];
  /** Slots whose prompts are complete after this chunk, and the piece whose last token each continues. */
  readonly completed: readonly { readonly slot: Slot<S>; readonly piece: number }[];
}

export interface SchedulerOptions {
  /** Sequences that run at once. */
  readonly maxSequences: number;
  /** Prompt tokens of a chunk. */
  readonly prefillTokens: number;
  /** Who waits goes by most new tokens, then by arrival. Default: by arrival. */
  readonly longestFirst?: boolean;
}

export class Scheduler<S extends Sequence> {
  readonly pool: PagePool;
  private readonly options: SchedulerOptions;
  readonly waiting: S[] = [];
  /** Admitted, prompt not complete, in order. */
  private readonly prompts: Slot<S>[] = [];
  /** Admitted and not released. */
  private readonly slots = new Set<Slot<S>>();
  /** Prompt → the slot that computes it. */
  private readonly leaders = new Map<string, Slot<S>>();
  /** Prompt tokens that were found in pages or taken over. */
  sharedTokens = 0;

  constructor(pool: PagePool, options: SchedulerOptions) {
    this.pool = pool;
    this.options = options;
  }

  get running(): number {
    return this.slots.size;
  }
  /** Pages that a sequence needs at most. */
  pagesOf(s: Sequence): number {
    return this.pool.pagesFor(s.prompt.length + s.maxNewTokens);
  }
  enqueue(sequence: S): void {
    const before = this.options.longestFirst
      ? this.waiting.findIndex((s) => s.maxNewTokens < sequence.maxNewTokens)
      : -1;
    this.waiting.splice(before < 0 ? this.waiting.length : before, 0, sequence);
  }
  /** Takes one out that was not admitted; false if it was. */
  withdraw(sequence: S): boolean {
    const at = this.waiting.indexOf(sequence);
    if (at < 0) return false;
    this.waiting.splice(at, 1);
    return true;
  }

  /** The next chunk, after admitting what fits; undefined when no prompt can run. */
  nextChunk(): Chunk<S> | undefined {
    while (this.waiting.length > 0 && this.slots.size < this.options.maxSequences) {
      if (!this.admit(this.waiting[0]!)) break;
      this.waiting.shift();
    }
    const pieces = this.takePieces();
    if (pieces.length === 0) return undefined;
    const copies: [number, number][] = [];
    const completed: { slot: Slot<S>; piece: number }[] = [];
    pieces.forEach(({ slot, end }, piece) => {
      const n = slot.sequence.prompt.length;
      if (end < n) return;
      this.prompts.splice(this.prompts.indexOf(slot), 1);
      this.leaders.delete(slot.sequence.prompt.join());
      completed.push({ slot, piece });
      const partial = n % this.pool.pageSize === 0 ? undefined : this.pool.pagesFor(n) - 1;
      for (const f of slot.followers) {
        f.computed = n;
        if (partial !== undefined) copies.push([slot.pages[partial]!, f.pages[partial]!]);
        completed.push({ slot: f, piece });
      }
    });
    const whole = pieces.every((p) => p.begin === 0 && p.end === p.slot.sequence.prompt.length);
    return { pieces, whole, copies, completed };
  }

  /** Frees the pages of a slot whose prompt is complete. */
  release(slot: Slot<S>): void {
    if (this.slots.delete(slot)) this.pool.release(slot.pages);
  }

  /** Takes everything admitted out, after an error. */
  abandon(): Slot<S>[] {
    const slots = [...this.slots];
    for (const slot of slots) this.release(slot);
    this.prompts.length = 0;
    this.leaders.clear();
    this.pool.clear();
    return slots;
  }

  private admit(sequence: S): boolean {
    const { prompt } = sequence;
    const { pool } = this;
    const leader = this.leaders.get(prompt.join());
    // Without a leader the last token runs in any case: its hidden state gives the first draw.
    const full = Math.floor((leader ? prompt.length : prompt.length - 1) / pool.pageSize);
    const shared = leader ? leader.pages.slice(0, full) : pool.match(prompt, full);
    if (leader) pool.retain(shared);
    const own = pool.take(this.pagesOf(sequence) - shared.length);
    if (!own) {
      pool.release(shared);
      return false;
    }
    const slot: Slot<S> = {
      sequence,
      pages: [...shared, ...own],
      computed: shared.length * pool.pageSize,
      followers: [],
    };
    this.slots.add(slot);
    this.sharedTokens += leader ? prompt.length : slot.computed;
    if (leader) {
      leader.followers.push(slot);
      return true;
    }
    // Whoever comes later runs later: what is published now is there when it is read.
    pool.publish(prompt, slot.pages);
    this.leaders.set(prompt.join(), slot);
    this.prompts.push(slot);
    return true;
  }

  /** Whole prompts while they fit, else parts of prompts that have begun or are too long, in order. */
  private takePieces(): Piece<S>[] {
    const pieces: Piece<S>[] = [];
    let room = this.options.prefillTokens;
    const fits = (slot: Slot<S>) => slot.computed === 0 && slot.sequence.prompt.length <= room;
    const first = this.prompts[0];
    if (!first) return pieces;
    const whole = fits(first);
    for (const slot of this.prompts) {
      if (room <= 0 || fits(slot) !== whole) break;
      const begin = slot.computed;
      const end = Math.min(slot.sequence.prompt.length, begin + room);
      slot.computed = end;
      room -= end - begin;
      pieces.push({ slot, begin, end });
    }
    return pieces;
  }
}
