/**
 * f16 and bf16 as 16-bit patterns, to and from f32. Rounding is to nearest, ties to even (IEEE 754-2019, 4.3.1);
 * a value beyond the largest finite f16 becomes infinity, NaN stays NaN.
 */

const floats = new Float32Array(1);
const bits = new Uint32Array(floats.buffer);

/** Element-wise, into `out` of the same length. */
export function toBf16(values: Float32Array, out: Uint16Array): void {
  const from = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < from.length; i++) {
    const b = from[i]!;
    // Adding could carry a NaN's fraction into infinity: it is truncated and kept quiet instead.
    out[i] =
      (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
}

/** Element-wise, into `out` of the same length. */
export function toF16(values: Float32Array, out: Uint16Array): void {
  for (let i = 0; i < values.length; i++) out[i] = halfOf(values[i]!);
}

/** The nearest f16's pattern. */
function halfOf(value: number): number {
  floats[0] = value;
  const b = bits[0]!;
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 is half-way between the largest f16 and the next power: it and all above round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  const exponent = (magnitude >>> 23) - 112;
  if (exponent > 0) {
    const half = (exponent << 10) | ((magnitude & 0x7fffff) >>> 13);
    return sign | (half + roundUp(magnitude & 0x1fff, 0x1000, half));
  }
  // Subnormal: the fraction with its leading one, shifted until its unit is 2^-24.
  const shift = 14 - exponent;
  if (shift > 24) return sign;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const half = fraction >>> shift;
  return sign | (half + roundUp(fraction & ((1 << shift) - 1), 1 << (shift - 1), half));
}

function roundUp(rest: number, tie: number, kept: number): number {
  return rest > tie || (rest === tie && (kept & 1) === 1) ? 1 : 0;
}

/** The value of an f16's pattern. */
export function fromF16(h: number): number {
  const sign = h & 0x8000 ? -1 : 1;
  const exponent = (h >> 10) & 31;
  const fraction = h & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Element-wise, into `out` of the same length. */
export function fromBf16(patterns: Uint16Array, out: Float32Array): void {
  const to = new Uint32Array(out.buffer, out.byteOffset, out.length);
  for (let i = 0; i < patterns.length; i++) to[i] = patterns[i]! << 16;
}
