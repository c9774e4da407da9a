/**
 * Running mean and standard deviation of returns (reference: 2.5): `exp` a debiased exponential average, `ma` the plain
 * average of everything seen. f64; state is JSON.
 */
export interface ValueNormOptions {
  readonly type: 'exp' | 'ma';
  /** exp: weight of the past. */
  readonly beta: number;
  readonly eps: number;
}

/** Moments so far. */
export interface ValueNormState {
  mean: number;
  meanSq: number;
  /** exp: Σ of weights so far (→ 1); ma: number of values. */
  weight: number;
}

/** Running mean and deviation of returns, by which a critic's values are normalised. */
export class ValueNorm {
  private readonly options: ValueNormOptions;
  state: ValueNormState = { mean: 0, meanSq: 0, weight: 0 };

  constructor(options: ValueNormOptions) {
    this.options = options;
  }

  /** Adds the masked-in values. Nothing happens when there are none. */
  update(values: ArrayLike<number>, mask: Uint8Array): void {
    let n = 0;
    let sum = 0;
    let squares = 0;
    for (let i = 0; i < mask.length; i++) {
      if (!mask[i]) continue;
      n++;
      sum += values[i]!;
      squares += values[i]! ** 2;
    }
    this.add({ n, sum, squares });
  }

  /** Adds `n` values by their sum and their sum of squares. Nothing happens when there are none. */
  add({ n, sum, squares }: { n: number; sum: number; squares: number }): void {
    if (n === 0) return;
    const { beta, type } = this.options;
    const s = this.state;
    if (type === 'ma') {
      this.state = { mean: s.mean + sum, meanSq: s.meanSq + squares, weight: s.weight + n };
    } else {
      const mix = (old: number, now: number) => beta * old + (1 - beta) * now;
      this.state = {
        mean: mix(s.mean, sum / n),
        meanSq: mix(s.meanSq, squares / n),
        weight: mix(s.weight, 1),
      };
    }
  }

  /** Mean and deviation; 0 and 1 before the first update. */
  stats(): { mean: number; std: number } {
    const { mean, meanSq, weight } = this.state;
    if (weight === 0) return { mean: 0, std: 1 };
    const d = Math.max(weight, this.options.eps);
    return { mean: mean / d, std: Math.sqrt(Math.max(meanSq / d - (mean / d) ** 2, 0.01)) };
  }
  denormalize(values: ArrayLike<number>): Float64Array {
    const { mean, std } = this.stats();
    return Float64Array.from(values, (v) => v * std + mean);
  }
  /** Clipped to ±5. */
  normalize(values: ArrayLike<number>): Float64Array {
    const { mean, std } = this.stats();
    return Float64Array.from(values, (v) => Math.min(Math.max((v - mean) / std, -5), 5));
  }
}
