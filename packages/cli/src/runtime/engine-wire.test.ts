import { CommError, type GenerateOutput } from '@realhf/api';
import { expect, it } from 'vitest';

import { decodeAnswer, encodeAnswer } from './engine-wire.js';

/** As a socket gives them: at odd bytes of a larger memory. */
const received = (frames: readonly (string | Uint8Array)[]) =>
  frames.map((frame) => {
    const bytes = Buffer.from(frame);
    const memory = new Uint8Array(bytes.length + 3);
    memory.set(bytes, 3);
    return memory.subarray(3);
  });

it('values and generations come back with the same bits, NaN too', () => {
  const values = Float32Array.of(1.5, NaN, -0);
  expect(decodeAnswer(received(encodeAnswer(values)))).toEqual(values);
  const out: GenerateOutput = {
    tokens: [Int32Array.of(3, 4), Int32Array.of()],
    logProbs: [Float32Array.of(-0.1, -7), Float32Array.of()],
    masks: [Uint8Array.of(1, 2, 3), Uint8Array.of()],
    noEos: [true, false],
  };
  expect(decodeAnswer(received(encodeAnswer(out)))).toEqual(out);
  const plain = { tokens: out.tokens, logProbs: out.logProbs, noEos: out.noEos };
  expect(decodeAnswer(received(encodeAnswer(plain)))).toEqual(plain);
});

it('frames that do not fit are refused', () => {
  const frames = received(encodeAnswer(Float32Array.of(1)));
  expect(() => decodeAnswer([...frames, ...frames])).toThrow(CommError);
  expect(() => decodeAnswer([])).toThrow('no frames');
});
