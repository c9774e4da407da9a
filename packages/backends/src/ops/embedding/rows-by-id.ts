/** Which positions of a token list hold which row: what makes the embedding gradient a sum of fixed order without atomics. */

/**
 * rows [unique] ‖ starts [unique + 1] ‖ positions, rows ascending and positions ascending within a row; ids whose
 * row (id − rowOffset) is outside [0, tableRows) are left out.
 */
export function rowsById(
  ids: Int32Array,
  rowOffset: number,
  tableRows: number,
): { readonly csr: Int32Array; readonly unique: number } {
  const positions = new Uint32Array(ids.length);
  let n = 0;
  for (let i = 0; i < ids.length; i++) {
    const row = ids[i]! - rowOffset;
    if (row >= 0 && row < tableRows) positions[n++] = i;
  }
  const kept = positions.subarray(0, n).sort((p, q) => ids[p]! - ids[q]! || p - q);
  let unique = 0;
  for (let i = 0; i < n; i++) if (i === 0 || ids[kept[i]!] !== ids[kept[i - 1]!]) unique++;
  const csr = new Int32Array(2 * unique + 1 + n);
  let u = 0;
  for (let i = 0; i < n; i++) {
    const p = kept[i]!;
    if (i === 0 || ids[p] !== ids[kept[i - 1]!]) {
      csr[u] = ids[p]! - rowOffset;
      csr[unique + u] = i;
      u++;
    }
    csr[2 * unique + 1 + i] = p;
  }
  csr[2 * unique] = n;
  return { csr, unique };
}
