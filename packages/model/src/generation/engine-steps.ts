/** What a round of the engine records: prompt chunks with their first draws, then decode steps, then one look at all draws. */
import { Arena, sampleOptionWords, type Tensor } from '@realhf/api';

import { causalRanges } from '../transformer/batch.js';
import type { Stage } from '../transformer/stage.js';
import { stateWidth } from './decode-state.js';
import { Draws, type Drawn } from './draws.js';
import { logitsOf, RowsPass, type LayerPools } from './rows-pass.js';
import type { RunningSequence } from './running-sequence.js';
import type { Chunk, Slot } from './scheduler.js';
import type { Stepper } from './steppers.js';

type Running = Slot<RunningSequence>;

interface StepOptions {
  readonly pageSize: number;
  readonly padTokenId: number;
  readonly stepsPerRead: number;
}

/** Slots whose prompts are complete, and their first draws; undefined where there are none. */
export interface Fresh {
  readonly slots: readonly Running[];
  readonly draws: Draws | undefined;
  free(): void;
}

const flat = (parts: readonly Uint32Array[], width: number) => {
  const out = new Uint32Array(parts.length * width);
  parts.forEach((p, i) => {
    out.set(p, i * width);
  });
  return out;
};

/** Page numbers of slots, a line each: u32 [slots, longest]. */
function uploadTable(arena: Arena, slots: readonly Running[]): Tensor {
  const width = Math.max(...slots.map((s) => s.pages.length));
  return arena.fromHost(
    flat(
      slots.map((s) => Uint32Array.from(s.pages)),
      width,
    ),
    [slots.length, width],
    'u32',
  );
}

const optionsOf = (slots: readonly Running[]) =>
  flat(
    slots.map((s) => s.sequence.options),
    sampleOptionWords,
  );

/** Before a draw: the last token of the prompt, or of what was drawn, has been fed. */
function stateOf(slots: readonly Running[], firstLine: number): Uint32Array {
  const out = new Uint32Array(slots.length * stateWidth);
  slots.forEach(({ sequence: s }, i) => {
    const keys = s.prompt.length + s.length;
    out.set([s.length, 0, keys - 1, firstLine + i, keys], i * stateWidth);
  });
  return out;
}

/**
 * Runs a chunk, copies what followers need and draws the first token of every prompt that is complete. `firstLine`: row
 * that the first of them will have in decode steps.
 */
export async function prefillChunk(
  model: Stage,
  chunk: Chunk<RunningSequence>,
  pools: readonly LayerPools[],
  options: StepOptions,
  firstLine: number,
): Promise<Fresh> {
  const { ops } = model;
  const arena = new Arena(ops);
  const { pieces } = chunk;
  const lengths = pieces.map((p) => p.end - p.begin);
  const cu = new Int32Array(pieces.length + 1);
  lengths.forEach((n, i) => (cu[i + 1] = cu[i]! + n));
  const t = cu.at(-1)!;
  const [ids, positions] = [new Int32Array(t), new Uint32Array(t)];
  const rows = new Uint32Array(2 * t);
  pieces.forEach(({ slot, begin, end }, line) => {
    ids.set(slot.sequence.prompt.subarray(begin, end), cu[line]);
    for (let i = begin, at = cu[line]!; i < end; i++, at++) {
      positions[at] = i;
      rows.set([line, i + 1], 2 * at);
    }
  });
  const keys = {
    pageTable: uploadTable(
      arena,
      pieces.map((p) => p.slot),
    ),
    pageSize: options.pageSize,
    rows: arena.fromHost(rows, [t, 2], 'u32'),
    rowStride: 2,
    rowOffset: 0,
  };
  const ranges = chunk.whole
    ? arena.fromHost(causalRanges(cu, model.config.slidingWindow).kvRange, [t, 2], 'u32')
    : undefined;
  const pass = new RowsPass(model, t);
  try {
    const x = await pass.run(
      {
        ids: arena.fromHost(ids, [t], 'i32'),
        positions: { tensor: arena.fromHost(positions, [t], 'u32') },
        keys,
        ...(ranges ? { ranges } : {}),
      },
      pools,
    );
    copyPages(model, chunk, pools, options.pageSize);
    const slots = chunk.completed.map((c) => c.slot);
    if (slots.length === 0) return { slots, draws: undefined, free: () => undefined };
    const index = Uint32Array.from(chunk.completed, (c) => cu[c.piece + 1]! - 1);
    const picked = arena.empty([slots.length, model.config.hiddenDim]);
    ops.gatherRows(x, arena.fromHost(index, [slots.length], 'u32'), picked);
    const draws = new Draws(model, {
      rows: slots.length,
      steps: 1,
      state: stateOf(slots, firstLine),
      options: optionsOf(slots),
      padTokenId: options.padTokenId,
      record: slots.some((s) => s.sequence.recordKept),
    });
    const logits = await logitsOf(model, picked);
    draws.draw(logits);
    ops.free(logits);
    return {
      slots,
      draws,
      free: () => {
        draws.free();
      },
    };
  } finally {
    pass.free();
    arena.release();
  }
}

/** Keys of the partial pages that sequences with the same prompt do not share. */
function copyPages(
  { ops }: Stage,
  { copies }: Chunk<RunningSequence>,
  pools: readonly LayerPools[],
  pageSize: number,
): void {
  if (copies.length === 0) return;
  const arena = new Arena(ops);
  const n = copies.length * pageSize;
  const index = (side: 0 | 1) =>
    arena.fromHost(
      Uint32Array.from(
        { length: n },
        (_, i) => copies[Math.floor(i / pageSize)]![side] * pageSize + (i % pageSize),
      ),
      [n],
      'u32',
    );
  const [from, to] = [index(0), index(1)];
  const columns = pools[0]!.kPool.shape[1]!;
  const rows = arena.empty([n, columns]);
  for (const pool of pools.flatMap((p) => [p.kPool, p.vPool])) {
    ops.gatherRows(pool, from, rows);
    ops.scatterRows({
      src: { tensor: rows, offset: 0, stride: columns },
      index: to,
      rows: n,
      columns,
      dst: pool,
    });
  }
  arena.release();
}

/** Decode steps of all active rows: `old` ones go on, `fresh` ones take over their first draw without the host knowing it. */
export async function decodeRound(
  model: Stage,
  stepper: Stepper,
  { old, fresh }: { readonly old: readonly Running[]; readonly fresh: readonly Fresh[] },
  options: StepOptions,
): Promise<{ steps: number; empty: number; tokens: number }> {
  const { ops } = model;
  const slots = [...old, ...fresh.flatMap((f) => f.slots)];
  const rest = (s: RunningSequence, drawn: number) => s.maxNewTokens - s.length - drawn;
  const steps = Math.min(
    options.stepsPerRead,
    Math.max(...slots.map((s, i) => rest(s.sequence, i < old.length ? 0 : 1))),
  );
  const arena = new Arena(ops);
  let draws: Draws | undefined;
  try {
    if (steps > 0) {
      draws = new Draws(model, {
        rows: slots.length,
        steps,
        state: stateOf(slots, 0),
        options: optionsOf(slots),
        padTokenId: options.padTokenId,
        record: slots.some((s) => s.sequence.recordKept),
      });
      const keys = {
        pageTable: uploadTable(arena, slots),
        pageSize: options.pageSize,
        rows: draws.state,
        rowStride: stateWidth,
        rowOffset: 3,
      };
      feed(model, draws, old, fresh);
      for (let step = 0; step < steps; step++) await stepper.step(draws, keys);
    }
    let tokens = 0;
    const give = (slot: Running, drawn: Drawn, row: number, rows: number, n: number) => {
      const { sequence } = slot;
      if (sequence.finished) return;
      tokens += sequence.append(
        Array.from({ length: n }, (_, step) => ({
          token: drawn.tokens[step * rows + row]!,
          logProb: drawn.logProbs[step * rows + row]!,
          kept: sequence.recordKept ? () => drawn.kept(step, row) : undefined,
        })),
      );
    };
    const [later, ...first] = await Promise.all([
      draws?.read(),
      ...fresh.map((f) => f.draws?.read()),
    ]);
    fresh.forEach((f, k) => {
      f.slots.forEach((slot, i) => {
        give(slot, first[k]!, i, f.slots.length, 1);
      });
    });
    const before = tokens;
    slots.forEach((slot, i) => {
      if (later) give(slot, later, i, slots.length, steps);
    });
    return { steps, tokens, empty: steps * slots.length - (tokens - before) };
  } finally {
    draws?.free();
    arena.release();
  }
}

/** The tokens to feed: of old rows from the host, of fresh ones, with their state, from their first draw. */
function feed(
  { ops }: Stage,
  draws: Draws,
  old: readonly Running[],
  fresh: readonly Fresh[],
): void {
  ops.write(
    draws.tokens,
    Int32Array.from(old, (s) => s.sequence.lastToken),
  );
  let row = old.length;
  for (const f of fresh) {
    if (f.draws) draws.follow(f.draws, row);
    row += f.slots.length;
  }
}
