import { expect, test } from 'vitest';

import { relayoutState } from './relayout.js';

const version = (globalStep: number) => ({ epoch: 0, epochStep: globalStep, globalStep });
const worker = (models: Record<string, { step: number; memory?: unknown }>, data: unknown) => ({
  models: Object.fromEntries(
    Object.entries(models).map(([key, m]) => [
      key,
      { version: version(m.step), interface: m.memory ?? null },
    ]),
  ),
  data,
});
const saved = {
  version: 1,
  stepsDone: 3,
  workers: {
    'model_worker/0': worker({ 'actor@0': { step: 0 }, 'actor@1': { step: 3, memory: 'kl' } }, 7),
    'model_worker/1': worker({ 'actor@0': { step: 0 }, 'ref@0': { step: 0 } }, null),
  },
};

test('the same workers with the same models: nothing changes', () => {
  const sites = [
    { name: 'model_worker/1', models: ['ref@0', 'actor@0'], hasData: false },
    { name: 'model_worker/0', models: ['actor@0', 'actor@1'], hasData: true },
  ];
  expect(relayoutState(saved, sites)).toBe(saved);
});

test('other workers get what the replica that trains knew, and the position', () => {
  const sites = [
    { name: 'worker', models: ['actor@0', 'ref@0'], hasData: true },
    { name: 'other', models: ['actor@1'], hasData: false },
  ];
  expect(relayoutState(saved, sites)).toEqual({
    version: 1,
    stepsDone: 3,
    workers: {
      worker: worker({ 'actor@0': { step: 3, memory: 'kl' }, 'ref@0': { step: 0 } }, 7),
      other: worker({ 'actor@1': { step: 3, memory: 'kl' } }, null),
    },
  });
});

test('a role that was not there is an error, what is no state is left to the master', () => {
  const sites = [{ name: 'worker', models: ['critic@0'], hasData: true }];
  expect(() => relayoutState(saved, sites)).toThrow("no model of role 'critic'; it has actor, ref");
  expect(relayoutState(null, sites)).toBeNull();
});
