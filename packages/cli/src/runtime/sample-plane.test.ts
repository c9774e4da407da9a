import { DataError, SequenceSample } from '@realhf/api';
import { afterEach, expect, test } from 'vitest';

import { makeRunKeys } from './keys.js';
import { SamplePuller, serveSamples } from './sample-plane.js';
import { decodeSample, encodeSample } from './sample-wire.js';

const sample = new SequenceSample({
  ids: ['a', 'b'],
  seqlens: { tokens: [[2], [3]], mask: [[2], [3]], score: [[1], [1]] },
  data: {
    tokens: Int32Array.of(1, 2, 3, 4, 5),
    mask: Uint8Array.of(1, 0, 1, 0, 1),
    score: Float32Array.of(0.5, NaN),
  },
  dtypes: { tokens: 'i32', mask: 'u8', score: 'f32' },
  trailingShapes: { tokens: [], mask: [], score: [] },
  metadata: { note: ['x', 'y'] },
});

const closers: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

test('a sample goes through frames bit for bit', () => {
  const frames = encodeSample(sample).map((f) =>
    typeof f === 'string' ? new TextEncoder().encode(f) : f,
  );
  // A frame may begin at any byte of its buffer.
  const shifted = frames.map((f) => {
    const buffer = new Uint8Array(f.length + 3);
    buffer.set(f, 3);
    return buffer.subarray(3);
  });
  expect(decodeSample(shifted)).toEqual(sample);
});

test('workers take tensors from each other, many at a time, and errors keep their class', async () => {
  const keys = makeRunKeys();
  const served = await serveSamples(keys, (ids, wanted) => {
    if (ids.includes('z')) throw new DataError("item 'z' is not on this worker");
    return SequenceSample.gather(
      sample.unpack().filter((s) => ids.includes(s.ids[0]!)),
      wanted,
    );
  });
  closers.push(() => {
    served.close();
  });
  let asked = 0;
  const puller = new SamplePuller(keys, () => {
    asked++;
    return Promise.resolve(served.address);
  });
  closers.push(() => puller.close());
  const all = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      puller.pull({ from: 'w', ids: [i % 2 ? 'b' : 'a'], keys: ['tokens'] }),
    ),
  );
  expect(all.map((s) => s.data?.tokens?.length)).toEqual(
    Array.from({ length: 20 }, (_, i) => (i % 2 ? 3 : 2)),
  );
  expect(asked).toBe(1);
  await expect(puller.pull({ from: 'w', ids: ['z'], keys: ['tokens'] })).rejects.toThrow(
    /w: item 'z'/,
  );
});
