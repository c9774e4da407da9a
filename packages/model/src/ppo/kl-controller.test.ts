import { describe, expect, it } from 'vitest';

import { KlController } from './kl-controller.js';

const make = (adaptive: boolean) =>
  new KlController({ klCtl: 0.1, adaptive, target: 6, horizon: 10000 });
const after = (kl: number, n: number) => {
  const c = make(true);
  c.update(kl, n);
  return c.value;
};

describe('KlController', () => {
  it('defect 11: the coefficient grows when the KL exceeds the target and shrinks below it', () => {
    expect(after(7, 100)).toBeGreaterThan(0.1);
    expect(after(6, 100)).toBe(0.1);
    expect(after(5, 100)).toBeLessThan(0.1);
    expect(after(-5, 100)).toBeLessThan(0.1);
  });
  it('changes by the clipped relative error × sequences / horizon', () => {
    expect(after(6.6, 500)).toBeCloseTo(0.1 * (1 + (0.1 * 500) / 10000), 12);
    expect(after(600, 500)).toBeCloseTo(0.1 * (1 + (0.2 * 500) / 10000), 12);
    expect(after(0, 500)).toBeCloseTo(0.1 * (1 - (0.2 * 500) / 10000), 12);
  });
  it('stays when it is fixed', () => {
    const c = make(false);
    c.update(600, 500);
    expect(c.value).toBe(0.1);
  });
});
