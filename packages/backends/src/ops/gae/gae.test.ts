import { expect, test } from 'vitest';

import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { gae } from './gae.js';
import { gaeReference } from './gae.reference.js';

onAdapters((r) => {
  const up = (data: Float32Array | Uint32Array) => {
    const t = r().alloc([data.length], data instanceof Uint32Array ? 'u32' : 'f32');
    r().write(t, data);
    return t;
  };

  test('packed sequences of length 1, 2 and more, cut off or not', async () => {
    const rand = random(3);
    const lengths = [1, 2, 37, 5, 5, 113, 1, 3];
    const cu = Uint32Array.from(
      [0, ...lengths].map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0)),
    );
    const total = cu[lengths.length]!;
    const n = total - lengths.length;
    const rewards = normal(n, rand);
    const values = normal(total, rand);
    const bootstrap = Uint32Array.from(lengths, (_, i) => i % 2);
    const poison = () => up(new Float32Array(n).fill(NaN));
    const args = {
      rewards: up(rewards),
      values: up(values),
      cuSeqlens: up(cu),
      bootstrap: up(bootstrap),
      gamma: 0.99,
      lambda: 0.95,
      advantages: poison(),
      returns: poison(),
    };
    gae(r(), args);
    const want = gaeReference(rewards, values, cu, bootstrap, 0.99, 0.95);
    expectClose(new Float32Array(await r().read(args.advantages)), want.advantages, 1e-5, 1e-5);
    expectClose(new Float32Array(await r().read(args.returns)), want.returns, 1e-5, 1e-5);
    expect(() => {
      gae(r(), { ...args, returns: r().alloc([3]) });
    }).toThrow(/don't fit/);
  });
});
