import { ConfigError } from '@realhf/api';
import { expect, it } from 'vitest';

import { setupsOf, withSetup } from './profile-grid.js';

const config = { seed: 1, dataset: { n: 4, name: 'x' }, call: { n_mbs: null } };

it('makes every combination, the last option fastest', () => {
  const setups = setupsOf(['dataset.n=4|8', 'call.n_mbs=null|2'], config);
  expect(setups).toEqual([
    { 'dataset.n': 4, 'call.n_mbs': null },
    { 'dataset.n': 4, 'call.n_mbs': 2 },
    { 'dataset.n': 8, 'call.n_mbs': null },
    { 'dataset.n': 8, 'call.n_mbs': 2 },
  ]);
  expect(setupsOf([], config)).toEqual([{}]);
  expect(withSetup(config, setups[3]!)).toEqual({
    ...config,
    dataset: { n: 8, name: 'x' },
    call: { n_mbs: 2 },
  });
  expect(config.dataset.n).toBe(4);
});

it('refuses what is no option', () => {
  expect(() => setupsOf(['dataset.m=1'], config)).toThrow(ConfigError);
  expect(() => setupsOf(['dataset.n'], config)).toThrow('write option=value|value');
});
