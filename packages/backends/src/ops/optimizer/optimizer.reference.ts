/** AdamW in f64, one step on all elements. */
export interface AdamState {
  readonly param: Float64Array;
  readonly m: Float64Array;
  readonly v: Float64Array;
}

export function adamReference(
  s: AdamState,
  grad: ArrayLike<number>,
  o: {
    readonly lr: number;
    readonly beta1: number;
    readonly beta2: number;
    readonly eps: number;
    readonly weightDecay: number;
    readonly step: number;
    readonly gradScale: number;
  },
): void {
  for (let i = 0; i < grad.length; i++) {
    const g = grad[i]! * o.gradScale;
    s.m[i] = o.beta1 * s.m[i]! + (1 - o.beta1) * g;
    s.v[i] = o.beta2 * s.v[i]! + (1 - o.beta2) * g ** 2;
    const mHat = s.m[i]! / (1 - o.beta1 ** o.step);
    const vHat = s.v[i]! / (1 - o.beta2 ** o.step);
    s.param[i]! -= o.lr * (mHat / (Math.sqrt(vHat) + o.eps) + o.weightDecay * s.param[i]!);
  }
}
