/** copyBlocks by loops, in f64. */

/** Blocks as (source offset, destination offset, run, source stride, destination stride, count). */
export function copyBlocksReference(
  src: ArrayLike<number>,
  blocks: readonly (readonly number[])[],
  dst: ArrayLike<number>,
  eta = 1,
): Float64Array {
  const out = Float64Array.from(dst);
  for (const [from, to, run, srcStride, dstStride, count] of blocks as [
    number,
    number,
    number,
    number,
    number,
    number,
  ][])
    for (let row = 0; row < count; row++)
      for (let i = 0; i < run; i++) {
        const at = to + row * dstStride + i;
        out[at] = eta * src[from + row * srcStride + i]! + (1 - eta) * out[at]!;
      }
  return out;
}
