/** f64 embedding lookup and gradient. */

export function embeddingReference(
  table: ArrayLike<number>,
  dim: number,
  ids: ArrayLike<number>,
  rowOffset = 0,
  factor = 1,
): Float64Array {
  return Float64Array.from({ length: ids.length * dim }, (_, i) => {
    const row = ids[Math.floor(i / dim)]! - rowOffset;
    return row >= 0 && row * dim < table.length ? factor * table[row * dim + (i % dim)]! : 0;
  });
}

/** Adds to dTable [rows, dim]. */
export function embeddingBackwardReference(
  dOut: ArrayLike<number>,
  dim: number,
  ids: ArrayLike<number>,
  dTable: Float64Array,
  rowOffset = 0,
  factor = 1,
): Float64Array {
  for (let i = 0; i < dOut.length; i++) {
    const row = ids[Math.floor(i / dim)]! - rowOffset;
    if (row >= 0 && row * dim < dTable.length) dTable[row * dim + (i % dim)]! += factor * dOut[i]!;
  }
  return dTable;
}
