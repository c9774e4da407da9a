import fc from 'fast-check';
import { expect, it } from 'vitest';

import { CHUNK_BYTES, decode, EAGER_BYTES, encode, nothing } from './socket-frames.js';
import type { Frame } from './socket-frames.js';
import { FrameReader } from './socket-reader.js';

const frameOf = (bytes: number, key: number): Frame => ({
  type: 'chunk',
  group: 2 ** 48 - 1,
  key,
  sig: { op: 'allReduce max', kind: 'f64', root: 3, elements: 2 ** 40 },
  bytes,
});

it('frames come back as they were, whatever the pieces that the kernel delivers', () => {
  const sizes = fc.array(fc.constantFrom(0, 1, 7, 1000, 40_000, 70_000, 300_000), { maxLength: 8 });
  const reads = fc.infiniteStream(fc.constantFrom(1, 39, 40, 41, 1000, 60_000, 1_000_000));
  fc.assert(
    fc.property(sizes, reads, (all, pieces) => {
      const frames = all.map((bytes, i) => frameOf(bytes, -i));
      const payloads = all.map((n, i) => new Uint8Array(n).map((_, j) => i * 31 + j));
      const stream = Buffer.concat(frames.flatMap((f, i) => [encode(f), payloads[i]!]));
      const got: Frame[] = [];
      const targets: Uint8Array[] = [];
      let ended = 0;
      const reader = new FrameReader((frame) => {
        got.push(frame);
        const target = new Uint8Array(frame.bytes);
        targets.push(target);
        // Every third is thrown away.
        return { ...(got.length % 3 ? { target } : {}), end: () => ended++ };
      });
      for (let at = 0; at < stream.length;) {
        const into = reader.buffer();
        const n = Math.min(Number(pieces.next().value), into.length, stream.length - at);
        into.set(stream.subarray(at, at + n));
        reader.received(n);
        at += n;
      }
      expect(got).toEqual(frames);
      expect(ended).toBe(frames.length);
      targets.forEach((t, i) => {
        if ((i + 1) % 3) expect(Buffer.compare(t, payloads[i]!)).toBe(0);
      });
    }),
    { numRuns: 50 },
  );
});

it('frames that are none, or too large for their type, are refused', () => {
  const header = (frame: Partial<Frame>) => encode({ ...frameOf(0, 1), ...frame });
  expect(() => decode(header({ bytes: CHUNK_BYTES + 1 }))).toThrow(/chunk of 1048577 bytes/);
  expect(() => decode(header({ type: 'eager', bytes: EAGER_BYTES + 1 }))).toThrow(
    /a frame that is/,
  );
  expect(() => decode(header({ type: 'bye', sig: nothing, bytes: 1 }))).toThrow(/bye of 1 bytes/);
  expect(() => decode(header({ key: NaN }))).toThrow(/a frame that is none/);
  expect(() => decode(new Uint8Array(40).fill(255))).toThrow(/a frame that is none/);
});
