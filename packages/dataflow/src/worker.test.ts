import {
  createRegistry,
  modelName,
  SequenceSample,
  type MFCDef,
  type ModelInterface,
} from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { fakeModel } from './__fixtures__/fake-models.js';
import { ListDataSource } from './data-source.js';
import {
  decodeMessage,
  decodeMeta,
  encodeMessage,
  encodeMeta,
  errorOf,
  type CallRequest,
  type EncodedMeta,
  type Reply,
} from './protocol.js';
import { InProcessStream } from './stream.js';
import { ModelWorker } from './worker.js';

const tokens = (id: string, ...values: number[]) =>
  SequenceSample.fromDefault({
    ids: [id],
    seqlens: [values.length],
    data: { packed_prompts: Int32Array.from(values) },
  });
const doubler: MFCDef = {
  name: 'double',
  nSeqs: 2,
  interfaceType: 'inference',
  interfaceImpl: { type_: 'doubler', args: { by: 2 } },
  model: modelName('m'),
  inputKeys: ['packed_prompts'],
  outputKeys: ['values'],
  inputKeyRemap: { packed_prompts: 'packed_input_ids' },
  outputKeyRemap: { logits: 'values' },
  nMbs: 3,
};
const request = (ids: string[]): CallRequest => ({
  type: 'inference',
  mfc: 'double',
  ids,
  pulls: [],
  preHooks: [],
  postHooks: [],
  at: { step: 0, epoch: 0, epochStep: 0 },
  isHead: true,
});

function doublerWorker(inference: ModelInterface['inference']) {
  const interfaces =
    createRegistry<(args: Readonly<Record<string, unknown>>) => ModelInterface>('interface');
  interfaces.register('doubler', () => (inference ? { inference } : {}));
  const worker = new ModelWorker({
    models: [fakeModel('m', 1)],
    interfaces,
    data: new ListDataSource([tokens('a', 1), tokens('b', 2, 3)], { shuffle: false }),
  });
  return new InProcessStream({ w0: worker });
}
const asValues = (ids: readonly string[], lens: number[][], data: number[], key = 'logits') =>
  new SequenceSample({
    ids,
    seqlens: { [key]: lens },
    data: { [key]: Float32Array.from(data) },
    dtypes: { [key]: 'f32' },
    trailingShapes: { [key]: [] },
  });

describe('ModelWorker', () => {
  it('assembles inputs in the order of the ids, renames both ways and replies with metadata', async () => {
    const stream = doublerWorker((_, input, call) => {
      expect([...input.keys]).toEqual(['packed_input_ids']);
      expect([...input.i32('packed_input_ids')]).toEqual([2, 3, 1]);
      expect(call.nMbs).toBe(3);
      // Items in another order than asked for.
      return Promise.resolve(asValues(['a', 'b'], [[1], [2]], [10, 20, 30]));
    });
    const init = await stream.request('w0', { type: 'initialize', mfcs: [doubler] });
    expect(init).toMatchObject({ type: 'initialized', models: ['m@0'], datasetSize: 2 });
    await stream.request('w0', { type: 'fetch', n: 2 });
    const reply = await stream.request('w0', request(['b', 'a']));
    expect([...decodeMeta(reply.sample!).keys]).toEqual(['values']);
    expect((await stream.request('w0', { type: 'fetch', n: 2 })).sample).toBeNull();
  });

  it('says what is wrong with a call', async () => {
    const bad = async (inference: ModelInterface['inference'], ids = ['a', 'b']) => {
      const stream = doublerWorker(inference);
      await stream.request('w0', { type: 'initialize', mfcs: [doubler] });
      await stream.request('w0', { type: 'fetch', n: 2 });
      return stream.request('w0', request(ids));
    };
    const ok = () => Promise.resolve(asValues(['a', 'b'], [[1], [2]], [1, 2, 3]));
    await expect(bad(undefined)).rejects.toThrow(/needs inference of interface 'doubler'/);
    await expect(bad(ok, ['a', 'z'])).rejects.toThrow(/item 'z' is not on this worker/);
    await expect(
      bad(() => Promise.resolve(asValues(['a', 'b'], [[1], [2]], [1, 2, 3], 'other'))),
    ).rejects.toThrow(/should make key 'values', interface 'doubler' returned other/);
    await expect(bad(() => Promise.resolve(asValues(['a'], [[1]], [1])))).rejects.toThrow(
      /got 2 ids and returned 1 without 'b'/,
    );
    const stream = doublerWorker(ok);
    await expect(stream.request('w0', request(['a']))).rejects.toMatchObject({
      name: 'ConfigError',
    });
    await expect(
      stream.request('w0', {
        type: 'initialize',
        mfcs: [{ ...doubler, model: modelName('q') }],
      }),
    ).rejects.toThrow(/no model q@0; it holds m@0/);
    await expect(stream.request('w9', { type: 'state' })).rejects.toThrow(
      /no worker 'w9' to send 'state' to; there are w0/,
    );
  });
});

describe('protocol', () => {
  it('carries numbers that JSON lacks', () => {
    const reply: Reply = { type: 'stats', stats: { a: NaN, b: Infinity, c: -Infinity, d: 0.1 } };
    expect(decodeMessage(encodeMessage(reply))).toEqual(reply);
  });
  it('carries metadata of samples', () => {
    const sample = SequenceSample.gather([tokens('a', 1), tokens('b', 2, 3)]);
    const meta = decodeMeta(JSON.parse(JSON.stringify(encodeMeta(sample))) as EncodedMeta);
    expect(meta).toEqual(sample.meta());
  });
  it('refuses what is no message, and keeps error classes', () => {
    expect(() => decodeMessage('{')).toThrow(/not JSON/);
    expect(() => decodeMessage('{}')).toThrow(/no type/);
    expect(errorOf('DataError', 'x').name).toBe('DataError');
    expect(errorOf('TypeError', 'x').name).toBe('RealError');
  });
});

describe('ListDataSource', () => {
  const items = Array.from({ length: 7 }, (_, i) => tokens(`${i}`, i));
  const draw = (source: ListDataSource, calls: number) =>
    Array.from({ length: calls }, () => source.next(2)?.ids.join() ?? 'end');
  it('gives every item at most once per epoch, another order each, the same for the same seed', () => {
    const drawn = draw(new ListDataSource(items, { seed: 3 }), 8);
    expect(drawn).toEqual(draw(new ListDataSource(items, { seed: 3 }), 8));
    expect(drawn.map((d) => d === 'end')).toEqual([0, 0, 0, 1, 0, 0, 0, 1].map(Boolean));
    expect(new Set(drawn.slice(0, 3).join().split(',')).size).toBe(6);
    expect(drawn.slice(0, 3)).not.toEqual(drawn.slice(4, 7));
    expect(drawn).not.toEqual(draw(new ListDataSource(items, { seed: 4 }), 8));
  });
  it('goes on from any state', () => {
    const whole = draw(new ListDataSource(items), 9);
    for (let n = 0; n < 9; n++) {
      const first = new ListDataSource(items);
      draw(first, n);
      const second = new ListDataSource(items);
      second.restore(JSON.parse(JSON.stringify(first.state())));
      expect(second.epoch).toBe(first.epoch);
      expect(draw(second, 9 - n)).toEqual(whole.slice(n));
    }
    expect(() => {
      new ListDataSource(items).restore({ epoch: 'x' });
    }).toThrow(/not the position/);
  });
});
