/** Random inputs and comparisons for kernel tests: tolerance = abs + rel·|reference|, and one-direction gradient checks. */
import { expect } from 'vitest';

/** A seeded generator of uniform numbers in [0, 1) (mulberry32). */
export function random(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), s | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Normal numbers, rounded to f32. */
export function normal(n: number, rand: () => number, std = 1): Float32Array {
  return Float32Array.from(
    { length: n },
    () => std * Math.sqrt(-2 * Math.log(1 - rand())) * Math.cos(2 * Math.PI * rand()),
  );
}

export function expectClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  rel = 1e-5,
  abs = 1e-6,
): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    const err = Math.abs(got[i]! - want[i]!);
    if (!(err <= abs + rel * Math.abs(want[i]!)))
      throw new Error(`element ${i}: got ${got[i]!}, want ${want[i]!} (error ${err})`);
  }
}

/** ‖a − b‖ / ‖b‖. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let num = 0;
  let den = 0;
  for (let i = 0; i < b.length; i++) {
    num += (a[i]! - b[i]!) ** 2;
    den += b[i]! ** 2;
  }
  return Math.sqrt(num / Math.max(den, 1e-300));
}

/**
 * Checks gradients of an f64 reference along one random direction (central difference against the inner product):
 * what JAX's check_grads does for a VJP. `f` maps inputs to a scalar, `grads` are its claimed gradients.
 */
export function expectDirectional(
  f: (inputs: readonly Float64Array[]) => number,
  inputs: readonly ArrayLike<number>[],
  grads: readonly ArrayLike<number>[],
  rand: () => number,
  tolerance = 1e-5,
  eps = 1e-5,
): void {
  const x = inputs.map((a) => Float64Array.from(a));
  const d = x.map((a) => Float64Array.from(a, () => rand() * 2 - 1));
  const at = (t: number) => f(x.map((a, i) => a.map((v, j) => v + t * d[i]![j]!)));
  const numeric = (at(eps) - at(-eps)) / (2 * eps);
  let analytic = 0;
  grads.forEach((g, i) => {
    for (let j = 0; j < g.length; j++) analytic += g[j]! * d[i]![j]!;
  });
  const scale = Math.max(Math.abs(numeric), Math.abs(analytic), 1e-3);
  if (!(Math.abs(numeric - analytic) <= tolerance * scale))
    throw new Error(`directional derivative ${numeric}, gradient says ${analytic}`);
}
