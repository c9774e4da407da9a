/** The control plane within one process: order, several requests in flight, errors across it, and who is let in. */
import { setImmediate } from 'node:timers/promises';

import { CommError, NumericError } from '@realhf/api';
import type { Reply, Request } from '@realhf/dataflow';
import { afterEach, expect, test } from 'vitest';
import { Dealer } from 'zeromq';

import { clientOptions, makeRunKeys, type RunKeys } from './keys.js';
import type { RuntimeReply, RuntimeRequest } from './messages.js';
import { connectWorker } from './zmq-worker.js';
import { ZmqStream } from './zmq-stream.js';

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function bind(workers: readonly string[], keys: RunKeys) {
  const bound = await ZmqStream.bind(workers, keys);
  closers.push(() => {
    bound.stream.close();
  });
  return bound;
}

/** A worker that notes what it handles. */
function worker(
  name: string,
  address: string,
  keys: RunKeys,
  flow: (r: Request) => Promise<Reply> = () => Promise.resolve({ type: 'done' }),
  run: (r: RuntimeRequest) => Promise<RuntimeReply<RuntimeRequest>> = () => Promise.resolve(null),
) {
  const socket = connectWorker(name, address, keys);
  closers.push(() => {
    socket.close();
  });
  const engine = () => Promise.reject(new NumericError('no engine here'));
  return socket.serve({ flow: { handle: flow }, run, engine });
}

const clear = (id: string) => ({ type: 'clear_data_cache', ids: [id] }) as const;

test('requests of a worker are handled in the order of the calls, one at a time, commands among them', async () => {
  const keys = makeRunKeys();
  const { stream, address } = await bind(['a', 'b'], keys);
  const seen: string[] = [];
  let busy = 0;
  const handle = async (what: string) => {
    expect(busy++).toBe(0);
    for (let i = 0; i < 3; i++) await setImmediate();
    busy--;
    seen.push(what);
  };
  void worker(
    'a',
    address,
    keys,
    async (r) => {
      await handle(r.type === 'clear_data_cache' ? r.ids[0]! : r.type);
      return { type: 'done' };
    },
    async (r) => {
      await handle(r.type);
      return null;
    },
  );
  void worker('b', address, keys);
  await stream.connected(5000);
  await Promise.all([
    stream.request('a', clear('1')),
    stream.command('a', { type: 'load_shards', dir: '' }),
    stream.request('b', clear('x')),
    stream.request('a', clear('2')),
    stream.request('a', clear('3')),
  ]);
  expect(seen).toEqual(['1', 'load_shards', '2', '3']);
});

test('errors keep their class and name the worker that had them', async () => {
  const keys = makeRunKeys();
  const { stream, address } = await bind(['a'], keys);
  void worker(
    'a',
    address,
    keys,
    () => Promise.resolve({ type: 'error', name: 'NumericError', message: 'loss is NaN' }),
    () => Promise.reject(new NumericError('not a number')),
  );
  await stream.connected(5000);
  const of = (p: Promise<unknown>) => p.catch((e: unknown) => String(e));
  expect(await of(stream.request('a', clear('1')))).toBe('NumericError: a: loss is NaN');
  expect(await of(stream.command('a', { type: 'usage' }))).toBe('NumericError: a: not a number');
});

test('a worker that does not come is named', async () => {
  const keys = makeRunKeys();
  const { stream, address } = await bind(['model_worker/0', 'model_worker/1'], keys);
  void worker('model_worker/0', address, keys);
  await expect(stream.connected(200)).rejects.toThrow(
    /200 ms for the hello of model_worker\/1 \(1 of 2/,
  );
});

test('a failure rejects what is in flight and what comes after', async () => {
  const keys = makeRunKeys();
  const { stream, address } = await bind(['a'], keys);
  void worker('a', address, keys, () => new Promise(() => undefined));
  await stream.connected(5000);
  const flying = stream.request('a', clear('1'));
  stream.fail(new CommError('worker a ended'));
  await expect(flying).rejects.toThrow('worker a ended');
  await expect(stream.request('a', clear('2'))).rejects.toThrow('worker a ended');
});

test.each(['other keys', 'no keys'])('a stranger with %s is not heard', async (which) => {
  const keys = makeRunKeys();
  const { stream, address } = await bind(['a'], keys);
  const options = which === 'no keys' ? {} : clientOptions(makeRunKeys());
  const stranger = new Dealer({ ...options, routingId: 'a', linger: 0, sendTimeout: 100 });
  closers.push(() => {
    stranger.close();
  });
  const refused = new Promise<string>((resolve) => {
    for (const type of [
      'handshake:error:protocol',
      'handshake:error:other',
      'disconnect',
      'close:error',
    ] as const)
      stranger.events.on(type, (e) => {
        resolve(e.type);
      });
  });
  stranger.connect(address);
  await Promise.allSettled([stranger.send(['hello'])]);
  await refused;
  // It took the place of no worker: the real one comes and is served.
  await expect(stream.connected(100)).rejects.toThrow('0 of 1 workers came');
  void worker('a', address, keys);
  await stream.connected(5000);
  expect(await stream.request('a', clear('1'))).toEqual({ type: 'done' });
});
