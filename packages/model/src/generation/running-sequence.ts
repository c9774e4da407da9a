/** A sequence that an engine generates: its tokens so far, and who is told of them. */
import type { Sequence } from './scheduler.js';
import {
  sampleOptions,
  type FinishReason,
  type GeneratedSequence,
  type GenerationRequest,
  type TokenEvent,
} from './request.js';
import { TextStream } from './text-stream.js';

/** Tokens as they come, all of them at the end. Iterating or waiting sets the engine going. */
export interface Generation extends AsyncIterable<TokenEvent> {
  /** Rejects with the error of the device. A cancelled sequence resolves with what it has. */
  result(): Promise<GeneratedSequence>;
  /** Ends it at the next round. */
  cancel(): void;
}

interface Listener {
  readonly resolve: (r: IteratorResult<TokenEvent>) => void;
  readonly reject: (error: unknown) => void;
}

export class RunningSequence implements Sequence {
  readonly prompt: Int32Array;
  readonly maxNewTokens: number;
  /** Row of Ops.sampleRows. */
  readonly options: Uint32Array;
  readonly recordKept: boolean;
  readonly generation: Generation;
  private readonly stopIds: readonly number[];
  private readonly stream: TextStream | undefined;
  private readonly signal: AbortSignal | undefined;
  private readonly tokens: number[] = [];
  private readonly logProbs: number[] = [];
  private readonly kept: Uint8Array[] = [];
  private text = '';
  private reason: FinishReason | undefined;
  private wasCancelled = false;
  private failure: { readonly error: unknown } | undefined;
  private readonly events: TokenEvent[] = [];
  private readonly listeners: Listener[] = [];
  private readonly waiters: (() => void)[] = [];

  constructor(
    request: GenerationRequest,
    vocabSize: number,
    decode: ((ids: readonly number[]) => string) | undefined,
    run: () => Promise<void>,
  ) {
    this.prompt = request.prompt;
    this.maxNewTokens = request.gconfig.max_new_tokens;
    this.options = sampleOptions(request, vocabSize);
    this.recordKept = request.recordKept ?? false;
    this.stopIds = request.stopIds ?? [];
    this.stream = decode ? new TextStream(decode, request.stopStrings) : undefined;
    this.signal = request.signal;
    // Errors reach the callers through their own promises.
    const go = () => {
      if (!this.finished) run().catch(() => undefined);
    };
    this.generation = {
      cancel: () => {
        this.wasCancelled = true;
      },
      result: () => {
        go();
        return this.result();
      },
      [Symbol.asyncIterator]: () => ({
        next: () => {
          go();
          return this.next();
        },
        return: () => {
          this.wasCancelled = true;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
  }

  get finished(): boolean {
    return this.reason !== undefined || this.failure !== undefined;
  }
  get cancelled(): boolean {
    return this.wasCancelled || (this.signal?.aborted ?? false);
  }
  /** Tokens drawn. */
  get length(): number {
    return this.tokens.length;
  }
  get lastToken(): number {
    return this.tokens.at(-1)!;
  }

  /** Takes over drawn tokens up to its end; returns how many. */
  append(
    drawn: readonly { token: number; logProb: number; kept: (() => Uint8Array) | undefined }[],
  ): number {
    const from = this.tokens.length;
    let text = '';
    for (const { token, logProb, kept } of drawn) {
      if (this.reason !== undefined) break;
      this.tokens.push(token);
      this.logProbs.push(logProb);
      if (kept) this.kept.push(kept());
      if (this.stopIds.includes(token)) this.reason = 'stop';
      else {
        const piece = this.stream?.push(token);
        if (piece) text += piece.text;
        if (piece?.stopped) this.reason = 'stop';
        else if (this.tokens.length === this.maxNewTokens) this.reason = 'length';
        if (this.reason !== undefined && piece?.stopped) continue;
      }
      if (this.reason !== undefined && this.stream) text += this.stream.end();
    }
    this.text += text;
    this.emit({
      tokens: Int32Array.from(this.tokens.slice(from)),
      logProbs: Float32Array.from(this.logProbs.slice(from)),
      ...(this.recordKept ? { kept: this.kept.slice(from) } : {}),
      ...(this.stream ? { text } : {}),
      ...(this.reason === undefined ? {} : { finish: this.reason }),
    });
    return this.tokens.length - from;
  }

  /** Ends it without another token. */
  finish(reason: FinishReason): void {
    if (this.finished) return;
    this.reason = reason;
    const text = this.stream?.end();
    this.text += text ?? '';
    this.emit({
      tokens: new Int32Array(),
      logProbs: new Float32Array(),
      ...(text === undefined ? {} : { text }),
      finish: reason,
    });
  }
  fail(error: unknown): void {
    if (this.finished) return;
    this.failure = { error };
    for (const l of this.listeners.splice(0)) l.reject(error);
    this.settle();
  }

  private emit(event: TokenEvent): void {
    const listener = this.listeners.shift();
    if (listener) listener.resolve({ done: false, value: event });
    else this.events.push(event);
    if (!this.finished) return;
    for (const l of this.listeners.splice(0)) l.resolve({ done: true, value: undefined });
    this.settle();
  }
  private settle(): void {
    for (const w of this.waiters.splice(0)) w();
  }
  private next(): Promise<IteratorResult<TokenEvent>> {
    const event = this.events.shift();
    if (event) return Promise.resolve({ done: false, value: event });
    if (this.failure) return Promise.reject(asError(this.failure.error));
    if (this.finished) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.listeners.push({ resolve, reject });
    });
  }
  private async result(): Promise<GeneratedSequence> {
    if (!this.finished)
      await new Promise<void>((resolve) => {
        this.waiters.push(resolve);
      });
    if (this.failure) throw asError(this.failure.error);
    return {
      tokens: Int32Array.from(this.tokens),
      logProbs: Float32Array.from(this.logProbs),
      ...(this.recordKept ? { kept: this.kept } : {}),
      ...(this.stream ? { text: this.text } : {}),
      finish: this.reason!,
    };
  }
}

const asError = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));
