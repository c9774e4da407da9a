/** Registries: a name is taken once, an unknown one lists what is known. */
import { expect, it } from 'vitest';
import { ConfigError } from './errors.js';
import { modelKey, modelName } from './names.js';
import { createRegistry } from './registry.js';

it('registers, finds and lists', () => {
  const r = createRegistry<() => number>('thing');
  const one = () => 1;
  r.register('one', one);
  r.register('one', one);
  r.register('a', () => 2);
  expect(r.get('one')()).toBe(1);
  expect(r.names()).toEqual(['a', 'one']);
  expect(() => {
    r.register('one', () => 3);
  }).toThrow(ConfigError);
  expect(() => r.get('two')).toThrow("unknown thing 'two'; known: a, one");
  expect(() => createRegistry('dataset').get('x')).toThrow('known: none');
});

it('names models', () => {
  expect(modelKey(modelName('actor'))).toBe('actor@0');
  expect(modelKey(modelName('critic', 2))).toBe('critic@2');
});
