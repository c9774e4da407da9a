/** The decode state that Ops.sample advances (see SampleArgs.state). */

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
