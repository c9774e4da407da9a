/**
 * Random initial parameters. A value depends on the seed and its place in the logical flat space only, so any
 * rank of any layout computes its own shard and all layouts start from the same model. Counter-based: two 32-bit
 * hashes per pair of elements, then Box–Muller (1958). Residual projections are scaled by 1/√(2L) (GPT-2).
 */
import type { ModelConfig, ParamSpec } from '@realhf/api';

/** A bijection of u32 with good avalanche: xor-shift and multiply rounds. */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/**
 * Values of the elements begin ≤ i < end of the flat space, which must lie in `spec`. `seed` is a whole number
 * below 2^53; `std` is the standard deviation of this parameter (of the normal ones).
 */
export function initValues(
  spec: ParamSpec,
  begin: number,
  end: number,
  seed: number,
  std: number,
): Float32Array {
  const out = new Float32Array(end - begin);
  if (spec.init === 'zeros') return out;
  if (spec.init === 'ones') return out.fill(1);
  const key = mix(mix(seed >>> 0) ^ Math.floor(seed / 2 ** 32));
  if (spec.init === 'kaiming') {
    const bound = 1 / Math.sqrt(spec.shape[1] ?? 1);
    for (let i = begin; i < end; i++) {
      const h = mix(mix(key ^ (i >>> 0)) + Math.floor(i / 2 ** 32));
      out[i - begin] = bound * ((mix(h ^ 0xc2b2ae35) + 0.5) / 2 ** 31 - 1);
    }
    return out;
  }
  let i = begin;
  while (i < end) {
    const pair = Math.floor(i / 2);
    const h = mix(mix(key ^ (pair >>> 0)) + Math.floor(pair / 2 ** 32));
    const radius = std * Math.sqrt(-2 * Math.log((mix(h ^ 0x9e3779b9) + 0.5) / 2 ** 32));
    const angle = (2 * Math.PI * mix(h ^ 0x85ebca6b)) / 2 ** 32;
    if (i % 2 === 0) out[i++ - begin] = radius * Math.cos(angle);
    if (i < end && i % 2 === 1) out[i++ - begin] = radius * Math.sin(angle);
  }
  return out;
}

/** Standard deviation of a parameter's random init. */
export function initStd(config: ModelConfig, spec: ParamSpec): number {
  return spec.init === 'residual' ? config.initStd / Math.sqrt(2 * config.nLayers) : config.initStd;
}

/** The initial values of any interval of `spec`, in elements of the flat space; the whole parameter by default. */
export function initParams(
  config: ModelConfig,
  seed: number,
): (spec: ParamSpec, begin?: number, end?: number) => Float32Array {
  return (spec, begin = spec.offset, end = spec.offset + spec.size) =>
    initValues(spec, begin, end, seed, initStd(config, spec));
}
