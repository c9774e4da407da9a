/**
 * Offsets of packed sequences (reference: D9, 2.1). Shifted vectors (log-probs, advantages, …) have one entry
 * less than their sequence has tokens: entry j of a sequence belongs to the prediction of its token j + 1.
 */
import { DataError } from '@realhf/api';

/** i32 [n + 1]: running total of n lengths in tokens, leading 0. Throws DataError on a length that is not a count and beyond 2³¹ − 1 tokens. */
export function cuSeqlens(lengths: ArrayLike<number>): Int32Array {
  const cu = new Int32Array(lengths.length + 1);
  let at = 0;
  for (let i = 0; i < lengths.length; i++) {
    const l = lengths[i]!;
    if (!Number.isInteger(l) || l < 0)
      throw new DataError(`length ${l} of sequence ${i} is not a whole number ≥ 0`);
    at += l;
    if (at > 0x7fffffff)
      throw new DataError(
        `${at} tokens up to sequence ${i} do not fit an int32; pack fewer sequences`,
      );
    cu[i + 1] = at;
  }
  return cu;
}

/** Lengths in tokens of a cuSeqlens [n + 1]. */
export function lengthsOf(cu: Int32Array): Int32Array {
  const lengths = new Int32Array(Math.max(0, cu.length - 1));
  for (let i = 0; i < lengths.length; i++) lengths[i] = cu[i + 1]! - cu[i]!;
  return lengths;
}

/** cuSeqlens [n + 1] of the shifted vectors: one entry less per sequence. Throws DataError on an empty sequence. */
export function shortOne(cu: Int32Array): Int32Array {
  const short = new Int32Array(cu.length);
  for (let i = 1; i < cu.length; i++) {
    if (cu[i]! <= cu[i - 1]!)
      throw new DataError(`sequence ${i - 1} has no token; a shifted vector needs at least one`);
    short[i] = cu[i]! - i;
  }
  return short;
}

/** i32 [Σ(L − 1)]: packed indices of all tokens but the last of each sequence, i.e. of the logits that predict a token. */
export function leaveOneIndices(cu: Int32Array): Int32Array {
  return indices(cu, 0);
}

/** i32 [Σ(L − 1)]: packed indices of all tokens but the first of each sequence, i.e. of the tokens predicted. */
export function shiftOneIndices(cu: Int32Array): Int32Array {
  return indices(cu, 1);
}

function indices(cu: Int32Array, first: 0 | 1): Int32Array {
  const short = shortOne(cu);
  const out = new Int32Array(short[short.length - 1] ?? 0);
  let n = 0;
  for (let i = 0; i + 1 < cu.length; i++)
    for (let t = cu[i]! + first; t < cu[i + 1]! - 1 + first; t++) out[n++] = t;
  return out;
}
