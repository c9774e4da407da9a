import { ConfigError } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { distinctNgrams, vaderScore } from './score.js';

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
