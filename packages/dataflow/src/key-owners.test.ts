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

  it('does not tell twice, and asks nobody for what has not arrived', () => {
    const owners = new KeyOwners();
    owners.add('w0', ['a'], ['x']);
    owners.expect('w1', ['a'], ['x']);
    expect(owners.plan('w1', ['a'], ['x'])).toEqual([]);
    for (let i = 0; i < 3; i++) expect(owners.plan('w2', ['a'], ['x'])[0]!.from).toBe('w0');
    owners.confirm('w1', ['a'], ['x']);
    expect(owners.plan('w2', ['a'], ['x'])[0]!.from).toBe('w1');
    owners.drop(['a']);
    owners.confirm('w2', ['a'], ['x']);
    expect(() => owners.plan('w1', ['a'], ['x'])).toThrow(/no worker holds key 'x'/);
  });

  it('shares the serving between holders, by size', () => {
    const owners = new KeyOwners();
    for (const w of ['w0', 'w1']) owners.add(w, ['a', 'b', 'c'], ['x']);
    const from = (to: string, id: string, size: number) =>
      owners.plan(to, [id], ['x'], () => size)[0]!.from;
    expect(['w0', 'w1', 'w1', 'w1', 'w0']).toEqual([
      from('w2', 'a', 5),
      from('w3', 'a', 2),
      from('w2', 'b', 2),
      from('w3', 'b', 2),
      from('w2', 'c', 1),
    ]);
  });
});
