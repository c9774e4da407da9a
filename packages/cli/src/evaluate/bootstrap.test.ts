import { ConfigError } from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { pairedBootstrap } from './bootstrap.js';

describe('pairedBootstrap', () => {
  const noise = Array.from({ length: 200 }, (_, i) => Math.sin(i * 12.9898));

  it('of a constant gain is that gain', () => {
    const gain = pairedBootstrap(
      noise,
      noise.map((x) => x + 0.25),
      { seed: 1, resamples: 200 },
    );
    for (const value of [gain.mean, gain.low, gain.high]) expect(value).toBeCloseTo(0.25, 12);
  });

  it('agrees with the normal interval of the mean', () => {
    const after = noise.map((x, i) => x + Math.cos(i * 78.233));
    const gains = after.map((x, i) => x - noise[i]!);
    const mean = gains.reduce((a, b) => a + b, 0) / gains.length;
    const sd = Math.sqrt(gains.reduce((a, g) => a + (g - mean) ** 2, 0) / (gains.length - 1));
    const half = (1.96 * sd) / Math.sqrt(gains.length);
    const gain = pairedBootstrap(noise, after, { seed: 7, resamples: 4000 });
    expect(gain.mean).toBeCloseTo(mean, 12);
    expect(Math.abs(gain.low - (mean - half))).toBeLessThan(0.15 * half);
    expect(Math.abs(gain.high - (mean + half))).toBeLessThan(0.15 * half);
  });

  it('repeats under the same seed and names unequal lists', () => {
    const after = noise.map((x) => x * 1.5 + 0.1);
    const run = (seed: number): unknown => pairedBootstrap(noise, after, { seed, resamples: 100 });
    expect(run(3)).toEqual(run(3));
    expect(run(3)).not.toEqual(run(4));
    expect(() => pairedBootstrap([1], [1, 2], { seed: 1, resamples: 10 })).toThrow(
      /1 scores before and 2 after/,
    );
    expect(() => pairedBootstrap([], [], { seed: 1, resamples: 10 })).toThrow(ConfigError);
  });
});
