import { expect, test } from 'vitest';

import { TextStream } from './text-stream.js';

/** Bytes as tokens; the first token of a text loses a leading space, as some tokenizers do. */
const decode = (ids: readonly number[]) =>
  new TextDecoder().decode(Uint8Array.from(ids)).replace(/^ /, '');
const bytes = (text: string) => [...new TextEncoder().encode(text)];

test('pieces add up to the text, characters stay whole', () => {
  const text = 'a b  ü 日本 🎉!';
  const stream = new TextStream(decode);
  const pieces = bytes(text).map((b) => stream.push(b).text);
  expect(pieces.join('') + stream.end()).toBe(text);
  expect(pieces.some((p) => p.includes('\ufffd'))).toBe(false);
});

test('text is cut before the first stop string, which may lie across tokens; its beginnings are held back', () => {
  const stream = new TextStream(decode, ['END', 'STOP']);
  let out = '';
  let used = 0;
  for (const b of bytes('one EN two ST STO END three')) {
    const { text, stopped } = stream.push(b);
    out += text;
    used++;
    expect(out).not.toMatch(/END|STOP|(E|EN|S|ST|STO)$/);
    if (stopped) break;
  }
  expect(out).toBe('one EN two ST STO ');
  expect(used).toBe('one EN two ST STO END'.length);
});

test('what was held back comes at the end', () => {
  const stream = new TextStream(decode, ['END']);
  expect(
    bytes('xEN')
      .map((b) => stream.push(b).text)
      .join(''),
  ).toBe('x');
  expect(stream.end()).toBe('EN');
});
