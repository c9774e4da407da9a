/** f64 norms, forward and backward, straight from their definitions. */
import type { NormArgs } from '@realhf/api';

interface NormInputs {
  readonly kind: NormArgs['kind'];
  /** [rows, dim] */
  readonly x: ArrayLike<number>;
  /** [dim] */
  readonly weight: ArrayLike<number>;
  readonly bias?: ArrayLike<number>;
  readonly eps: number;
}

function rowStats(p: NormInputs, row: number): { mean: number; inverse: number } {
  const dim = p.weight.length;
  let mean = 0;
  if (p.kind === 'layer') for (let c = 0; c < dim; c++) mean += p.x[row * dim + c]! / dim;
  let variance = 0;
  for (let c = 0; c < dim; c++) variance += (p.x[row * dim + c]! - mean) ** 2 / dim;
  return { mean, inverse: 1 / Math.sqrt(variance + p.eps) };
}
const effective = (p: NormInputs, c: number) => p.weight[c]! + (p.kind === 'gemma' ? 1 : 0);

export function normReference(p: NormInputs): { out: Float64Array; stats: Float64Array } {
  const dim = p.weight.length;
  const rows = p.x.length / dim;
  const out = new Float64Array(rows * dim);
  const stats = new Float64Array(2 * rows);
  for (let row = 0; row < rows; row++) {
    const { mean, inverse } = rowStats(p, row);
    stats.set([mean, inverse], 2 * row);
    for (let c = 0; c < dim; c++) {
      const normalized = (p.x[row * dim + c]! - mean) * inverse;
      out[row * dim + c] = normalized * effective(p, c) + (p.bias?.[c] ?? 0);
    }
  }
  return { out, stats };
}

export function normBackwardReference(
  p: NormInputs,
  dOut: ArrayLike<number>,
): { dx: Float64Array; dWeight: Float64Array; dBias: Float64Array } {
  const dim = p.weight.length;
  const rows = p.x.length / dim;
  const dx = new Float64Array(rows * dim);
  const dWeight = new Float64Array(dim);
  const dBias = new Float64Array(dim);
  for (let row = 0; row < rows; row++) {
    const { mean, inverse } = rowStats(p, row);
    let sum = 0;
    let dot = 0;
    for (let c = 0; c < dim; c++) {
      const i = row * dim + c;
      const normalized = (p.x[i]! - mean) * inverse;
      dWeight[c]! += dOut[i]! * normalized;
      dBias[c]! += dOut[i]!;
      sum += dOut[i]! * effective(p, c);
      dot += dOut[i]! * effective(p, c) * normalized;
    }
    for (let c = 0; c < dim; c++) {
      const i = row * dim + c;
      const normalized = (p.x[i]! - mean) * inverse;
      const shift = p.kind === 'layer' ? sum / dim : 0;
      dx[i] = inverse * (dOut[i]! * effective(p, c) - shift - (normalized * dot) / dim);
    }
  }
  return { dx, dWeight, dBias };
}
