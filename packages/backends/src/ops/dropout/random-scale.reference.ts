/** Philox2x32-10 and the factors of dropout and jitter in plain integers and f64; backward is the same product with dOut. */
import type { RandomScaleArgs } from '@realhf/api';

/** Two words for a counter of two words under a key. */
export function philoxReference(counter: readonly [number, number], key: number): [number, number] {
  let [x, y] = counter;
  let k = key >>> 0;
  for (let i = 0; i < 10; i++) {
    const product = BigInt(0xd256d193) * BigInt(x >>> 0);
    const high = Number(product >> 32n);
    const low = Number(product & 0xffffffffn);
    [x, y] = [(high ^ k ^ y) >>> 0, low >>> 0];
    k = (k + 0x9e3779b9) >>> 0;
  }
  return [x, y];
}

/** 24 bits of a word, uniform in [0, 1). */
export const uniformReference = (word: number): number => (word >>> 8) / 2 ** 24;

/** Factors [rows, columns]. */
export function randomFactorsReference(
  keys: ArrayLike<number>,
  columns: number,
  { stream, kind, amount }: Pick<RandomScaleArgs, 'stream' | 'kind' | 'amount'>,
): Float64Array {
  const out = new Float64Array(keys.length * columns);
  for (let row = 0; row < keys.length; row++)
    for (let c = 0; c < columns; c++) {
      const u = uniformReference(philoxReference([c >> 1, stream], keys[row]!)[c & 1]!);
      const dropout = u < Math.fround(amount) ? 0 : 1 / (1 - amount);
      out[row * columns + c] = kind === 'jitter' ? 1 + amount * (2 * u - 1) : dropout;
    }
  return out;
}
