/** f64 rotary embedding of one matrix of heads; a rotation, so its backward is the inverse rotation. */

/** x [rows, nHeads·headDim] rotated into a copy by cosSin [maxPosition, rotaryDim] = cos ‖ sin. */
export function ropeReference(
  x: ArrayLike<number>,
  nHeads: number,
  headDim: number,
  rotaryDim: number,
  positions: ArrayLike<number>,
  cosSin: ArrayLike<number>,
  inverse = false,
): Float64Array {
  const out = Float64Array.from(x);
  const half = rotaryDim / 2;
  const rows = x.length / (nHeads * headDim);
  for (let row = 0; row < rows; row++)
    for (let head = 0; head < nHeads; head++)
      for (let d = 0; d < half; d++) {
        const i = (row * nHeads + head) * headDim + d;
        const cos = cosSin[positions[row]! * rotaryDim + d]!;
        const sin = cosSin[positions[row]! * rotaryDim + half + d]! * (inverse ? -1 : 1);
        out[i] = x[i]! * cos - x[i + half]! * sin;
        out[i + half] = x[i + half]! * cos + x[i]! * sin;
      }
  return out;
}
