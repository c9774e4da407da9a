/** The decode state that Ops.sample advances (see SampleArgs.state), and key ranges of models with a window. */
import { windowBegin } from '../transformer/batch.js';

/** u32 per row: step, finished, position, first cache row, end of cache rows. */
export const stateWidth = 5;

/**
 * Before the first sample: the last prompt token has been fed, its row is the cache's last. `cacheRows` [ΣL] is
 * where each prompt token's keys and values go; sequence s owns rows s·cacheLen … (s+1)·cacheLen.
 */
export function initialState(
  cuSeqlens: Int32Array,
  cacheLen: number,
): { state: Uint32Array; cacheRows: Uint32Array } {
  const rows = cuSeqlens.length - 1;
  const state = new Uint32Array(rows * stateWidth);
  const cacheRows = new Uint32Array(cuSeqlens[rows]!);
  for (let s = 0; s < rows; s++) {
    const begin = cuSeqlens[s]!;
    const length = cuSeqlens[s + 1]! - begin;
    state.set([0, 0, length - 1, s * cacheLen, s * cacheLen + length], s * stateWidth);
    for (let i = 0; i < length; i++) cacheRows[begin + i] = s * cacheLen + i;
  }
  return { state, cacheRows };
}

/**
 * Cache rows that each sequence attends in each decode step, u32 [rows, steps, 2]: the state's range moved along with
 * the window. A finished sequence's state stands still and its ranges here don't; nothing of it is used any more.
 */
export function windowRanges(
  cuSeqlens: Int32Array,
  cacheLen: number,
  steps: number,
  window: number,
): Uint32Array {
  const rows = cuSeqlens.length - 1;
  const out = new Uint32Array(2 * steps * rows);
  for (let step = 0; step < steps; step++) {
    for (let s = 0; s < rows; s++) {
      const position = cuSeqlens[s + 1]! - cuSeqlens[s]! + step;
      const first = s * cacheLen;
      out.set(
        [first + windowBegin(position, window), first + position + 1],
        2 * (s * steps + step),
      );
    }
  }
  return out;
}
