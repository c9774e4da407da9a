import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromBf16, fromF16, toBf16, toF16 } from './half-floats.js';

const f16 = (x: number) => {
  const out = new Uint16Array(1);
  toF16(new Float32Array([x]), out);
  return out[0]!;
};
const bf16 = (x: number) => {
  const out = new Uint16Array(1);
  toBf16(new Float32Array([x]), out);
  return out[0]!;
};
const bf16Value = (pattern: number) => {
  const out = new Float32Array(1);
  fromBf16(new Uint16Array([pattern]), out);
  return out[0]!;
};

describe.each([
  { name: 'f16', to: f16, from: fromF16, maximum: 0x7bff, infinity: 0x7c00 },
  { name: 'bf16', to: bf16, from: bf16Value, maximum: 0x7f7f, infinity: 0x7f80 },
])('$name', ({ to, from, maximum, infinity }) => {
  it('keeps every pattern', () => {
    for (let p = 0; p < 0x10000; p++) {
      const value = from(p);
      if (Number.isNaN(value)) expect(from(to(value))).toBeNaN();
      else if (to(value) !== p) expect(to(value)).toBe(p);
    }
  });

  it('rounds to the nearest, ties to even', () => {
    // Between neighbours a < b: below the middle a, above it b, on it the even one. All exact in f64 and f32.
    for (let p = 0; p < maximum; p += 7) {
      const [a, b] = [from(p), from(p + 1)];
      const middle = Math.fround((a + b) / 2);
      expect(to(middle)).toBe(p % 2 === 0 ? p : p + 1);
      expect(to(Math.fround(middle - (b - a) / 8))).toBe(p);
      expect(to(Math.fround(middle + (b - a) / 8))).toBe(p + 1);
    }
  });

  it('is odd, monotonic, and ends in infinity', () => {
    const float = fc.float({ noNaN: true });
    fc.assert(
      fc.property(float, float, (x, y) => {
        expect(to(-x)).toBe(to(x) ^ 0x8000);
        const [a, b] = x < y ? [x, y] : [y, x];
        expect(from(to(a))).toBeLessThanOrEqual(from(to(b)));
      }),
    );
    expect(to(Infinity)).toBe(infinity);
    expect(to(3.4e38)).toBe(infinity);
    expect(from(to(NaN))).toBeNaN();
  });
});
