import { describe, expect, it } from 'vitest';
import { KeyOwners } from './key-owners.js';

describe('KeyOwners', () => {
  it('plans one pull per owner and set of items, and none twice', () => {
    const owners = new KeyOwners();
    owners.add('w0', ['a', 'b'], ['x', 'y']);
    owners.add('w1', ['a', 'b'], ['z']);
    expect(owners.plan('w0', ['a', 'b'], ['x', 'y'])).toEqual([]);
    expect(owners.plan('w2', ['b', 'a'], ['x', 'y', 'z'])).toEqual([
      { from: 'w0', ids: ['b', 'a'], keys: ['x', 'y'] },
      { from: 'w1', ids: ['b', 'a'], keys: ['z'] },
    ]);
    owners.add('w2', ['a'], ['x']);
    expect(owners.plan('w2', ['a', 'b'], ['x', 'y'])).toEqual([
      { from: 'w0', ids: ['b'], keys: ['x'] },
      { from: 'w0', ids: ['a', 'b'], keys: ['y'] },
    ]);
    owners.drop(['a']);
    expect(() => owners.plan('w2', ['a'], ['x'])).toThrow(/no worker holds key 'x' of item 'a'/);
  });
});
