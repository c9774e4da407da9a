import { expect, test } from 'vitest';

import { untar } from './untar.js';

function entry(name: string, data: Uint8Array, type = '0'): Uint8Array {
  const out = new Uint8Array(512 + Math.ceil(data.length / 512) * 512);
  const put = (text: string, at: number) => {
    out.set(new TextEncoder().encode(text), at);
  };
  put(name, 0);
  put('0000644\0', 100);
  put(`${data.length.toString(8).padStart(11, '0')}\0`, 124);
  put('        ', 148);
  put(type, 156);
  put('ustar\0', 257);
  const sum = out.subarray(0, 512).reduce((a, b) => a + b, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  out.set(data, 512);
  return out;
}

function join(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const end = new Uint8Array(1024);

test('plain files come back whole, folders and links do not', () => {
  const a = Uint8Array.from({ length: 700 }, (_, i) => i % 251);
  const files = untar(
    join(
      entry('a.so', a),
      entry('dir/', new Uint8Array(0), '5'),
      entry('b', new Uint8Array(0)),
      end,
    ),
  );
  expect([...files.keys()]).toEqual(['a.so', 'b']);
  expect(files.get('a.so')).toEqual(a);
  expect(files.get('b')).toHaveLength(0);
});

test('a truncated or damaged archive is named as such', () => {
  const whole = join(entry('a', new Uint8Array(1000)), end);
  expect(() => untar(whole.subarray(0, 1024))).toThrow(/needs 1000 bytes/);
  expect(() => untar(whole.subarray(0, 1536))).toThrow(/truncated/);
  const damaged = whole.slice();
  damaged[3] = 7;
  expect(() => untar(damaged)).toThrow(/checksum/);
});
