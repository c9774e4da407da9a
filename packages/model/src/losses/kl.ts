/**
 * Estimates of KL(π ‖ π_ref) from the log-probs of sampled tokens (Schulman 2020, "Approximating KL divergence"), with
 * d = log π − log π_ref: k1 = d (unbiased, may be negative), k2 = d²/2, k3 = e^(−d) − 1 + d (unbiased, never negative).
 * Differentiated in a loss, k1 has a mean gradient of 0: it belongs in the reward.
 */
export const klEstimators = ['k1', 'k2', 'k3'] as const;

/** Estimators of the divergence from the reference, per token. */
export type KlEstimator = (typeof klEstimators)[number];

/** The estimate for one token, in nats, and its slope in log π. */
export function klTerm(
  logp: number,
  ref: number,
  estimator: KlEstimator,
): [value: number, slope: number] {
  const d = logp - ref;
  if (estimator === 'k1') return [d, 1];
  if (estimator === 'k2') return [(d * d) / 2, d];
  // expm1 keeps what e^−d − 1 loses while the policy is near the reference.
  const e = Math.expm1(-d);
  return [e + d, -e];
}
