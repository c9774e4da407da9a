/** f64 activations and derivatives; gelu by a series and a continued fraction for erfc, independent of the kernel's formula. */
import type { Activation } from '@realhf/api';

/** erfc(z), z ≥ 0: Taylor series below 3, continued fraction above. */
function erfc(z: number): number {
  if (z > 27) return 0;
  if (z < 3) {
    let term = z;
    let sum = z;
    for (let n = 1; n < 120; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = z;
  for (let n = 80; n >= 1; n--) fraction = z + n / 2 / fraction;
  return Math.exp(-z * z) / (Math.sqrt(Math.PI) * fraction);
}
const cdf = (x: number) => {
  const half = erfc(Math.abs(x) / Math.SQRT2) / 2;
  return x > 0 ? 1 - half : half;
};
const inner = (x: number) => Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3);

export function activationReference(kind: Activation, x: number): number {
  if (kind === 'gelu') return x * cdf(x);
  if (kind === 'gelu_tanh') return 0.5 * x * (1 + Math.tanh(inner(x)));
  if (kind === 'silu') return x / (1 + Math.exp(-x));
  return Math.max(x, 0);
}

export function activationSlopeReference(kind: Activation, x: number): number {
  if (kind === 'gelu') return cdf(x) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
  if (kind === 'gelu_tanh') {
    const t = Math.tanh(inner(x));
    return (
      0.5 * (1 + t) + 0.5 * x * (1 - t * t) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x)
    );
  }
  if (kind === 'silu') {
    const s = 1 / (1 + Math.exp(-x));
    return s * (1 + x * (1 - s));
  }
  return x > 0 ? 1 : 0;
}

/** out [rows, inner] of gateUp [rows, 2·inner]. */
export function gatedReference(
  kind: Activation,
  gateUp: ArrayLike<number>,
  width: number,
): Float64Array {
  return Float64Array.from({ length: gateUp.length / 2 }, (_, i) => {
    const at = i + Math.floor(i / width) * width;
    return activationReference(kind, gateUp[at]!) * gateUp[at + width]!;
  });
}

/** dGateUp [rows, 2·inner]. */
export function gatedBackwardReference(
  kind: Activation,
  gateUp: ArrayLike<number>,
  dOut: ArrayLike<number>,
  width: number,
): Float64Array {
  const d = new Float64Array(gateUp.length);
  for (let i = 0; i < dOut.length; i++) {
    const at = i + Math.floor(i / width) * width;
    d[at] = dOut[i]! * gateUp[at + width]! * activationSlopeReference(kind, gateUp[at]!);
    d[at + width] = dOut[i]! * activationReference(kind, gateUp[at]!);
  }
  return d;
}
