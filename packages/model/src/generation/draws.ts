/** Draws of some rows over some steps: state, options and logs on the device, and what the host reads of them. */
import { Arena, sampleOptionWords, type Tensor } from '@realhf/api';

import type { Stage } from '../transformer/stage.js';
import { stateWidth } from './decode-state.js';
import { encodeKept } from './kept-sets.js';

export interface DrawOptions {
  readonly rows: number;
  readonly steps: number;
  /** u32 [rows, stateWidth]; of paged rows the fourth word is the line of the page table, the fifth their keys. */
  readonly state: Uint32Array;
  /** u32 [rows, sampleOptionWords]. */
  readonly options: Uint32Array;
  /** Fed to finished rows. */
  readonly padTokenId: number;
  /** Record which tokens the filters kept. */
  readonly record: boolean;
}

/** What was drawn, [steps, rows]. */
export interface Drawn {
  readonly tokens: Int32Array;
  readonly logProbs: Float32Array;
  /** Of step and row. */
  kept(step: number, row: number): Uint8Array;
}

export class Draws {
  readonly state: Tensor;
  /** i32 [rows], to be fed next. */
  readonly tokens: Tensor;
  private readonly model: Stage;
  private readonly wanted: DrawOptions;
  private readonly arena: Arena;
  private readonly options: Tensor;
  private readonly tokenLog: Tensor;
  private readonly logProbLog: Tensor;
  private readonly maskLog: Tensor | undefined;
  private step = 0;

  constructor(model: Stage, wanted: DrawOptions) {
    this.model = model;
    this.wanted = wanted;
    this.arena = new Arena(model.ops);
    const { rows, steps } = wanted;
    this.state = this.arena.fromHost(wanted.state, [rows, stateWidth], 'u32');
    this.options = this.arena.fromHost(wanted.options, [rows, sampleOptionWords], 'u32');
    this.tokens = this.arena.empty([rows], 'i32');
    this.tokenLog = this.arena.empty([steps, rows], 'i32');
    this.logProbLog = this.arena.empty([steps, rows]);
    if (wanted.record) this.maskLog = this.arena.empty([steps, rows, this.words], 'u32');
  }
  get rows(): number {
    return this.wanted.rows;
  }
  private get words(): number {
    return Math.ceil(this.model.config.vocabSize / 32);
  }

  /** Draws a token for every row and advances its state. */
  draw(logits: Tensor): void {
    this.model.ops.sampleRows({
      logits,
      options: this.options,
      padTokenId: this.wanted.padTokenId,
      state: this.state,
      tokens: this.tokens,
      tokenLog: this.tokenLog,
      logProbLog: this.logProbLog,
      ...(this.maskLog ? { maskLog: this.maskLog } : {}),
      logStep: this.step++,
    });
  }

  /** Goes on from the last draw of other rows: from `row` on, their tokens and state. */
  follow(other: Draws, row: number): void {
    const { ops } = this.model;
    const n = other.wanted.rows;
    ops.copy(other.tokens, this.tokens, n, 0, row);
    ops.copy(other.state, this.state, n * stateWidth, 0, row * stateWidth);
  }

  /** Submits and waits. */
  async read(): Promise<Drawn> {
    const { ops, config } = this.model;
    const { rows } = this.wanted;
    const n = this.step * rows;
    const [tokens, logProbs, masks] = await Promise.all([
      ops.readInts(this.tokenLog, 0, n),
      ops.read(this.logProbLog, 0, n),
      this.maskLog ? ops.readInts(this.maskLog, 0, n * this.words) : new Int32Array(),
    ]);
    return {
      tokens,
      logProbs,
      kept: (step, row) => {
        const at = (step * rows + row) * this.words;
        return encodeKept(masks.subarray(at, at + this.words), config.vocabSize);
      },
    };
  }

  free(): void {
    this.arena.release();
  }
}
