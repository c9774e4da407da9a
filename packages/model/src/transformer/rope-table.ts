/**
 * Rotary position embedding tables (Su et al., arXiv 2104.09864): f32 [maxPositions, headDim] = cos ‖ sin,
 * computed in f64. Frequencies: default, linear (t / factor, Chen et al. 2306.15595), llama3 (low frequencies
 * divided by factor, high ones kept, smooth between).
 */
import type { ModelConfig, RopeConfig } from '@realhf/api';

export function ropeFrequencies(rope: RopeConfig, headDim: number): Float64Array {
  const half = headDim / 2;
  const inv = Float64Array.from({ length: half }, (_, i) => rope.base ** ((-2 * i) / headDim));
  if (rope.type === 'linear') return inv.map((f) => f / (rope.factor ?? 1));
  if (rope.type !== 'llama3') return inv;
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

export function ropeTable(config: ModelConfig): Float32Array | undefined {
  if (!config.rope) return undefined;
  const half = config.headDim / 2;
  const inv = ropeFrequencies(config.rope, config.headDim);
  const table = new Float32Array(config.maxPositions * config.headDim);
  for (let p = 0; p < config.maxPositions; p++) {
    for (let i = 0; i < half; i++) {
      // HF computes the angle in f32; in f64 the difference at 10⁵ positions would show, at 10³ it is below 1e-6.
      const angle = p * inv[i]!;
      table[p * config.headDim + i] = Math.cos(angle);
      table[p * config.headDim + half + i] = Math.sin(angle);
    }
  }
  return table;
}
