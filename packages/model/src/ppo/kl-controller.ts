/**
 * KL coefficient: fixed, or adaptive (Ziegler et al., arXiv 1909.08593): the measured KL is the mean over sequences of
 * Σ_t log π(x_t) − log π_ref(x_t), positive when the policy has moved; once per batch, not per microbatch.
 */
export interface KlControllerOptions {
  readonly klCtl: number;
  readonly adaptive: boolean;
  /** Nats per sequence. */
  readonly target: number;
  /** Sequences. */
  readonly horizon: number;
}

/** The coefficient of the KL penalty, fixed or adaptive (Ziegler et al. 2019). */
export class KlController {
  private readonly options: KlControllerOptions;
  value: number;

  constructor(options: KlControllerOptions) {
    this.options = options;
    this.value = options.klCtl;
  }
  update(klPerSequence: number, nSequences: number): void {
    if (!this.options.adaptive) return;
    const error = Math.min(Math.max(klPerSequence / this.options.target - 1, -0.2), 0.2);
    this.value *= 1 + (error * nSequences) / this.options.horizon;
  }
}
