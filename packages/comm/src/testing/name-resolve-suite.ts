/** What every NameResolve must do, whatever keeps the names. */
import { afterEach, describe, expect, it } from 'vitest';

import { CommError, ConfigError } from '@realhf/api';
import type { NameResolve } from '../name-resolve/name-resolve.js';
import { waitAll } from '../name-resolve/name-resolve.js';

/** `open` gives a new client; all clients of one test see the same, at first empty, table. */
export interface NameTable {
  open(): Promise<NameResolve>;
  /** Makes the client's owner die: its keys are no longer refreshed and nothing is deleted. */
  kill?(client: NameResolve): void;
}

/** The death of a client's owner, seen from outside: no refresh and no deletion any more. */
export function stopRefreshing(client: NameResolve): void {
  const { own } = client as unknown as { own: Map<string, { timer: NodeJS.Timeout }> };
  for (const { timer } of own.values()) clearInterval(timer);
}

/** Registers the suite; `table` is called once a test. */
export function nameResolveSuite(name: string, table: () => Promise<NameTable> | NameTable): void {
  describe(name, () => {
    const clients: NameResolve[] = [];
    const openTwo = async () => {
      const t = await table();
      const two = [await t.open(), await t.open()] as const;
      clients.push(...two);
      return two;
    };
    afterEach(async () => {
      await Promise.all(clients.splice(0).map((c) => c.close()));
    });

    it('keeps names until they are deleted', async () => {
      const [a, b] = await openTwo();
      expect(await b.get('u/e/t/0')).toBeUndefined();
      await a.add('u/e/t/0', 'host:1\nsecond line, ü');
      await a.add('u/e/t', 'parent');
      expect(await b.get('u/e/t/0')).toBe('host:1\nsecond line, ü');
      expect(await b.get('u/e/t')).toBe('parent');
      await expect(b.add('u/e/t/0', 'x')).rejects.toThrow(/'u\/e\/t\/0'.*taken.*host:1/s);
      await b.add('u/e/t/0', 'x', { replace: true });
      expect(await a.get('u/e/t/0')).toBe('x');
      expect(await a.delete('u/e/t/0')).toBe(true);
      expect(await a.delete('u/e/t/0')).toBe(false);
      await b.add('u/e/t/0', 'again');
      await b.close();
      expect(await a.get('u/e/t/0')).toBe('again');
    });
    it('lists and clears subtrees, sorted, and not their neighbours', async () => {
      const [a, b] = await openTwo();
      const keys = ['r/w', 'r/w/0', 'r/w/1/x', 'r/w2', 'r/w*/0', 'r/w[1]', 'r', 'r/a b%/=entry'];
      for (const key of keys) await a.add(key, key.toUpperCase());
      expect(await b.findSubtree('r/w')).toEqual(['r/w', 'r/w/0', 'r/w/1/x']);
      expect([...(await b.getSubtree('r/w*'))]).toEqual([['r/w*/0', 'R/W*/0']]);
      expect(await b.findSubtree('r')).toEqual([...keys].sort());
      expect(await b.findSubtree('none')).toEqual([]);
      await b.clearSubtree('r/w');
      expect(await a.findSubtree('r')).toEqual(
        ['r', 'r/a b%/=entry', 'r/w*/0', 'r/w2', 'r/w[1]'].sort(),
      );
      await b.clearSubtree('none');
    });
    it('lets one of many through', async () => {
      const [a, b] = await openTwo();
      const tries = Array.from({ length: 16 }, (_, i) => (i % 2 ? a : b).add('race', String(i)));
      const winners = (await Promise.allSettled(tries)).flatMap((r, i) =>
        r.status === 'fulfilled' ? [String(i)] : [],
      );
      expect(winners).toEqual([await a.get('race')]);
    });
    it('waits', async () => {
      const [a, b] = await openTwo();
      const waits = [a.wait('w/0'), b.wait('w/0'), waitAll(a, ['w/1', 'w/0'])];
      await b.add('w/0', 'zero');
      await a.add('w/1', 'one');
      expect(await Promise.all(waits)).toEqual(['zero', 'zero', ['one', 'zero']]);
      expect(await a.wait('w/0', { timeoutMs: 0 })).toBe('zero');
    });
    it('says what was awaited, how long, and what is there', async () => {
      const [a, b] = await openTwo();
      const empty = b.wait('w/0', { timeoutMs: 3 });
      await expect(empty).rejects.toThrow(/waited 3 ms for 'w\/0'.*under 'w' there is nothing/);
      await a.add('w/0', '');
      await a.add('w/2', '');
      const wait = b.wait('w/1', { timeoutMs: 3 });
      await expect(wait).rejects.toThrow(/'w\/1': not there; under 'w' there is 'w\/0', 'w\/2'/);
      await expect(wait).rejects.toThrow(CommError);
      const all = waitAll(b, ['w/0', 'w/1', 'w/3'], { timeoutMs: 3 });
      await expect(all).rejects.toThrow(/for 2 names, 'w\/1', 'w\/3'.*there is 'w\/0', 'w\/2'/);
    });
    it('with a time to live, keeps a name as long as its owner', async () => {
      const [a, b] = await openTwo();
      await a.add('alive', '1', { ttlSeconds: 1 });
      await a.add('lost', '1', { ttlSeconds: 60 });
      await b.add('lost', '2', { replace: true });
      await a.add('stays', '1');
      const until = performance.now() + 1400;
      while (performance.now() < until) {
        await expect(b.wait('never', { timeoutMs: 100 })).rejects.toThrow(/'never'/);
        expect(await b.get('alive')).toBe('1');
      }
      await a.close();
      // What another has replaced isn't the first one's any more.
      expect([await b.get('alive'), await b.get('lost'), await b.get('stays')]).toEqual([
        undefined,
        '2',
        '1',
      ]);
    });
    it('lets go of the names of an owner that died', async () => {
      const t = await table();
      if (t.kill === undefined) return;
      const [a, b, c] = [await t.open(), await t.open(), await t.open()];
      clients.push(b, c);
      await a.add('dead/0', '1', { ttlSeconds: 0.05 });
      await expect(b.add('dead/0', '2')).rejects.toThrow(/taken/);
      t.kill(a);
      const until = performance.now() + 10_000;
      while ((await b.get('dead/0')) !== undefined && performance.now() < until);
      expect(await b.findSubtree('dead')).toEqual([]);
      const taken = await Promise.allSettled([b, c, b, c].map((x) => x.add('dead/0', '2')));
      expect(taken.filter((r) => r.status === 'fulfilled').length).toBe(1);
      expect(await b.get('dead/0')).toBe('2');
    });
    it('refuses what it can not do', async () => {
      const [a, b] = await openTwo();
      for (const key of ['', '/a', 'a/', 'a//b', '../a', 'a/./b'])
        await expect(a.add(key, ''), key).rejects.toThrow(ConfigError);
      await expect(a.add('a', '', { ttlSeconds: 0 })).rejects.toThrow(/ttlSeconds is 0/);
      const wait = b.wait('never');
      const outcome = expect(wait).rejects.toThrow(/closed/);
      await b.close();
      await b.close();
      await outcome;
      await expect(b.get('a')).rejects.toThrow(/'a': this client is closed/);
    });
  });
}
