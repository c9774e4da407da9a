import { ConfigError } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { distinctNgrams, pairedBootstrap, vaderScore } from './score.js';

describe('vaderScore', () => {
  it('gives the published compound of the package example', () => {
    expect(vaderScore('VADER is very smart, handsome, and funny')).toBeCloseTo(0.8545, 4);
  });

  it('orders good, neutral and bad text, and turns with a negator', () => {
    expect(vaderScore('a great and happy peace')).toBeGreaterThan(0.5);
    expect(vaderScore('the ship is on the sea')).toBe(0);
    expect(vaderScore('a terrible and cruel war')).toBeLessThan(-0.5);
    expect(vaderScore('this is not good')).toBeLessThan(0);
    expect(vaderScore(' ')).toBe(0);
  });
});

describe('distinctNgrams', () => {
  it('counts over all texts, without case or punctuation', () => {
    expect(distinctNgrams(['Good, good good good'], 1)).toBe(1 / 4);
    expect(distinctNgrams(['a b c', 'a b d'], 2)).toBe(3 / 4);
    expect(distinctNgrams(["don't stop", 'do not stop'], 2)).toBe(1);
  });

  it('is 1 when no text has n words and refuses n below 1', () => {
    expect(distinctNgrams(['one two'], 3)).toBe(1);
    expect(() => distinctNgrams(['one'], 0)).toThrow(ConfigError);
  });
});

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
      /1 scores before, 2 after/,
    );
    expect(() => pairedBootstrap([], [], { seed: 1, resamples: 10 })).toThrow(ConfigError);
  });
});
