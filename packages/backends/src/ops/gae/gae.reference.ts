/** GAE in f64, backward in time over each packed sequence (arXiv 1506.02438, equation 16). */
export function gaeReference(
  rewards: ArrayLike<number>,
  values: ArrayLike<number>,
  cuSeqlens: ArrayLike<number>,
  bootstrap: ArrayLike<number>,
  gamma: number,
  lambda: number,
): { advantages: Float64Array; returns: Float64Array } {
  const advantages = new Float64Array(rewards.length);
  const returns = new Float64Array(rewards.length);
  for (let i = 0; i + 1 < cuSeqlens.length; i++) {
    const [begin, end] = [cuSeqlens[i]!, cuSeqlens[i + 1]!];
    for (let t = begin; t < end - 1; t++) {
      // The sum of discounted deltas from t on, as in the definition.
      let factor = 1;
      for (let u = t; u < end - 1; u++) {
        const next = u + 1 < end - 1 || bootstrap[i] ? values[u + 1]! : 0;
        advantages[t - i]! += factor * (rewards[u - i]! + gamma * next - values[u]!);
        factor *= gamma * lambda;
      }
      returns[t - i] = advantages[t - i]! + values[t]!;
    }
  }
  return { advantages, returns };
}
