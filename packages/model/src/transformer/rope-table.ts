/**
 * Rotary position embedding tables (Su et al., arXiv 2104.09864): f32 [maxPositions, headDim] = cos ‖ sin,
 * computed in f64. Frequencies: default, linear (t / factor, Chen et al. 2306.15595), llama3 (low frequencies
 * divided by factor, high ones kept, smooth between), yarn (the same with a ramp over dimensions, and cos and sin
 * times a factor; Peng et al. 2309.00071), dynamic (default, as no sequence is longer than maxPositions).
 */
import type { ModelConfig, RopeConfig } from '@realhf/api';

/** [headDim / 2]: radians per position, scaling included. */
export function ropeFrequencies(rope: RopeConfig, headDim: number): Float64Array {
  const half = headDim / 2;
  const inv = Float64Array.from({ length: half }, (_, i) => rope.base ** ((-2 * i) / headDim));
  switch (rope.type) {
    case 'default':
    case 'dynamic':
      return inv;
    case 'linear':
      return inv.map((f) => f / (rope.factor ?? 1));
    case 'llama3':
      return llama3(inv, rope);
    case 'yarn':
      return yarn(inv, rope, headDim);
  }
}

function llama3(inv: Float64Array, rope: RopeConfig): Float64Array {
  const factor = rope.factor ?? 8;
  const low = rope.lowFreqFactor ?? 1;
  const high = rope.highFreqFactor ?? 4;
  const original = rope.originalMaxPositions ?? 8192;
  return inv.map((f) => {
    const wavelength = (2 * Math.PI) / f;
    if (wavelength < original / high) return f;
    if (wavelength > original / low) return f / factor;
    const smooth = (original / wavelength - low) / (high - low);
    return ((1 - smooth) * f) / factor + smooth * f;
  });
}

function yarn(inv: Float64Array, rope: RopeConfig, headDim: number): Float64Array {
  const factor = rope.factor ?? 1;
  const original = rope.originalMaxPositions ?? 8192;
  /** The dimension, not rounded, that turns `rotations` times over the original context. */
  const dimensionOf = (rotations: number) =>
    (headDim * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.base));
  const whole = rope.truncate ?? true;
  const fast = dimensionOf(rope.betaFast ?? 32);
  const slow = dimensionOf(rope.betaSlow ?? 1);
  const begin = Math.max(whole ? Math.floor(fast) : fast, 0);
  // transformers bounds the ramp by headDim − 1 although it runs over headDim / 2 frequencies.
  const end = Math.min(whole ? Math.ceil(slow) : slow, headDim - 1);
  const length = end === begin ? 0.001 : end - begin;
  return inv.map((f, i) => {
    const stretched = Math.min(1, Math.max(0, (i - begin) / length));
    return f * (1 - stretched) + (f / factor) * stretched;
  });
}

/** The table of cosines and sines that the kernels read; undefined where the model has no rotary embedding. */
export function ropeTable(config: ModelConfig): Float32Array | undefined {
  if (!config.rope) return undefined;
  const half = config.headDim / 2;
  const inv = ropeFrequencies(config.rope, config.headDim);
  // The rotation is no longer orthogonal with a factor, but its transpose, the backward, still is the same table's.
  const factor = config.rope.type === 'yarn' ? (config.rope.attentionFactor ?? 1) : 1;
  const table = new Float32Array(config.maxPositions * config.headDim);
  for (let p = 0; p < config.maxPositions; p++) {
    for (let i = 0; i < half; i++) {
      // HF computes the angle in f32; in f64 the difference at 10⁵ positions would show, at 10³ it is below 1e-6.
      const angle = p * inv[i]!;
      table[p * config.headDim + i] = factor * Math.cos(angle);
      table[p * config.headDim + half + i] = factor * Math.sin(angle);
    }
  }
  return table;
}
