/** Log-probs, log-sum-exp and entropy of a tempered, restricted softmax in f64, and the gradient. */
export interface LogProbShape {
  readonly rows: number;
  readonly vocab: number;
  readonly temperature: number;
  /** Whether column j of row i takes part. */
  readonly kept: (row: number, column: number) => boolean;
}

export function logProbsReference(
  s: LogProbShape,
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
) {
  const logProbs = new Float64Array(s.rows);
  const lse = new Float64Array(s.rows);
  const entropy = new Float64Array(s.rows);
  for (let i = 0; i < s.rows; i++) {
    const z: number[] = [];
    for (let j = 0; j < s.vocab; j++)
      z.push(s.kept(i, j) ? logits[i * s.vocab + j]! / s.temperature : -Infinity);
    const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
    lse[i] = top + Math.log(z.reduce((a, x) => a + Math.exp(x - top), 0));
    for (const x of z) if (x > -Infinity) entropy[i]! -= Math.exp(x - lse[i]!) * (x - lse[i]!);
    if (labels[i]! >= 0) logProbs[i] = z[labels[i]!]! - lse[i]!;
  }
  return { logProbs, lse, entropy };
}

export function logProbsBackwardReference(
  s: LogProbShape,
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
  dLogProbs: ArrayLike<number>,
  dEntropy: ArrayLike<number>,
): Float64Array {
  const { lse, entropy } = logProbsReference(s, logits, labels);
  const out = new Float64Array(s.rows * s.vocab);
  for (let i = 0; i < s.rows; i++)
    for (let j = 0; j < s.vocab; j++) {
      if (!s.kept(i, j)) continue;
      const logP = logits[i * s.vocab + j]! / s.temperature - lse[i]!;
      const p = Math.exp(logP);
      const g =
        dLogProbs[i]! * ((labels[i] === j ? 1 : 0) - p) - dEntropy[i]! * p * (logP + entropy[i]!);
      out[i * s.vocab + j] = g / s.temperature;
    }
  return out;
}
