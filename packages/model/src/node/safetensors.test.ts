import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError } from '@realhf/api';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SafetensorsFile, writeSafetensors } from './safetensors.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'realhf-safetensors-'));
});
afterAll(() => rm(dir, { recursive: true }));

const golden = new URL('../__fixtures__/golden/llama/model.safetensors', import.meta.url);

/** A file of a header (any JSON value or raw text) and data bytes. */
function fileOf(header: unknown, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === 'string' ? header : JSON.stringify(header),
  );
  const out = new Uint8Array(8 + text.length + data.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(data, 8 + text.length);
  return out;
}

async function openBytes(bytes: Uint8Array): Promise<SafetensorsFile> {
  const path = join(dir, 'case.safetensors');
  await writeFile(path, bytes);
  return SafetensorsFile.open(path);
}

async function readBack(bytes: Uint8Array, name: string) {
  const file = await openBytes(bytes);
  try {
    return await file.read(name);
  } finally {
    await file.close();
  }
}

describe('reading', () => {
  it('decodes every readable dtype', async () => {
    const bytes = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
    const one = (dtype: string, a: ArrayBufferView, n: number) =>
      fileOf({ t: { dtype, shape: [n], data_offsets: [0, a.byteLength] } }, bytes(a));
    const f32 = new Float32Array([1.5, -0, Infinity]);
    expect(await readBack(one('F32', f32, 3), 't')).toEqual(f32);
    const i32 = new Int32Array([-1, 2 ** 31 - 1]);
    expect(await readBack(one('I32', i32, 2), 't')).toEqual(i32);
    expect(await readBack(one('I64', new BigInt64Array([-5n, 7n]), 2), 't')).toEqual(
      new Int32Array([-5, 7]),
    );
    expect(await readBack(one('BF16', new Uint16Array([0x3fc0, 0xc000, 0x7f80]), 3), 't')).toEqual(
      new Float32Array([1.5, -2, Infinity]),
    );
    const halves = new Uint16Array([0x3c00, 0xc100, 0x0001, 0x83ff, 0x7bff, 0xfc00, 0x8000]);
    expect(await readBack(one('F16', halves, 7), 't')).toEqual(
      new Float32Array([1, -2.5, 2 ** -24, -1023 * 2 ** -24, 65504, -Infinity, -0]),
    );
    const nan = await readBack(one('F16', new Uint16Array([0x7e00]), 1), 't');
    expect(nan[0]).toBeNaN();
    await expect(readBack(one('I64', new BigInt64Array([2n ** 40n]), 1), 't')).rejects.toThrow(
      /tensor 't' holds 1099511627776, beyond 32 bits/,
    );
    await expect(readBack(one('U8', new Uint8Array(2), 2), 't')).rejects.toThrow(/dtype U8.*BF16/);
    await expect(readBack(one('F32', f32, 3), 'u')).rejects.toThrow(/no tensor 'u'; it has t/);
  });

  it('reads a range of a tensor', async () => {
    const data = Float32Array.from({ length: 100 }, (_, i) => i);
    const path = join(dir, 'ranges.safetensors');
    await writeSafetensors(path, {
      a: { dtype: 'F32', shape: [3], data: new Float32Array(3) },
      t: { dtype: 'BF16', shape: [10, 10], data },
    });
    const file = await SafetensorsFile.open(path);
    try {
      expect(await file.readFloat('t', 13, 17)).toEqual(data.subarray(13, 17));
      expect(await file.readFloat('t', 99)).toEqual(data.subarray(99));
      expect(await file.readFloat('t', 50, 50)).toHaveLength(0);
      await expect(file.read('t', 90, 101)).rejects.toThrow(
        /elements 90 to 101 of tensor 't', which has 100/,
      );
    } finally {
      await file.close();
    }
  });

  it('names the file and the tensor that is wrong', async () => {
    const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
      dtype,
      shape,
      data_offsets: [begin, end],
    });
    const data = new Uint8Array(16);
    const cases: [unknown, RegExp][] = [
      [{ a: entry(0, 8), b: entry(4, 16) }, /tensor 'b' overlaps tensor 'a'/],
      [{ a: entry(0, 8), b: entry(12, 16) }, /tensor 'b' leaves a hole after tensor 'a'/],
      [{ a: entry(4, 16) }, /tensor 'a' leaves a hole after the header/],
      [{ a: entry(0, 8) }, /8 bytes after its last tensor/],
      [{ a: entry(0, 20) }, /tensor 'a' ends at byte .* truncated/],
      [{ a: entry(0, 16, [3]) }, /tensor 'a' takes 16 bytes, F32 \[3\] asks for 12/],
      [{ a: entry(16, 0, [4]) }, /tensor 'a' takes -16 bytes/],
      [{ a: entry(0, 16, [4], 'F99') }, /tensor 'a' has dtype "F99"; known: F64, F32/],
      [{ a: entry(0, 16, [-4]) }, /tensor 'a' has shape \[-4\]/],
      [{ a: { ...entry(0, 16), data_offsets: [0] } }, /tensor 'a' has data_offsets \[0\]/],
      [{ a: 3 }, /tensor 'a' has no description/],
      [{ __metadata__: { n: 1 } }, /__metadata__ is not a map of strings/],
      ['{"a":', /header that is not JSON/],
      ['[]', /not a JSON object/],
    ];
    for (const [header, expected] of cases) {
      const opening = openBytes(fileOf(header, data));
      await expect(opening).rejects.toThrow(expected);
      await expect(opening).rejects.toThrow(CheckpointError);
      await expect(opening).rejects.toThrow(/case\.safetensors/);
    }
    await expect(openBytes(new Uint8Array(3))).rejects.toThrow(/has 3 bytes.*truncated/);
    await expect(openBytes(fileOf({ a: entry(0, 4) }).slice(0, 20))).rejects.toThrow(
      /ends within its header/,
    );
    const huge = new Uint8Array(16);
    new DataView(huge.buffer).setBigUint64(0, 2n ** 60n, true);
    await expect(openBytes(huge)).rejects.toThrow(/header of 1152921504606846976 bytes, at most/);
    await expect(SafetensorsFile.open(join(dir, 'none'))).rejects.toThrow(/cannot open .*none/);
  });

  it('opens or says CheckpointError for any damage to a real file', async () => {
    const whole = await readFile(golden);
    const headerEnd = 8 + Number(whole.readBigUInt64LE(0));
    const opened = async (bytes: Uint8Array) => {
      try {
        const file = await openBytes(bytes);
        await file.close();
        return true;
      } catch (e) {
        expect(e).toBeInstanceOf(CheckpointError);
        return false;
      }
    };
    expect(await opened(whole)).toBe(true);
    await fc.assert(
      fc.asyncProperty(fc.nat(headerEnd - 1), fc.nat(255), async (at, value) => {
        const bytes = Uint8Array.from(whole);
        bytes[at] = value;
        await opened(bytes);
      }),
      { numRuns: 150 },
    );
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), async (length) => {
        expect(await opened(whole.subarray(0, length))).toBe(false);
      }),
      { numRuns: 50 },
    );
  });

  it('opens or says CheckpointError for any header', async () => {
    const entry = fc.record(
      {
        dtype: fc.oneof(fc.constantFrom('F32', 'F16', 'I64'), fc.string()),
        shape: fc.oneof(fc.array(fc.integer({ min: -1, max: 4 }), { maxLength: 3 }), fc.anything()),
        data_offsets: fc.oneof(fc.array(fc.nat(40), { maxLength: 3 }), fc.anything()),
      },
      { requiredKeys: [] },
    );
    const header = fc.oneof(fc.dictionary(fc.string(), entry), fc.json());
    await fc.assert(
      fc.asyncProperty(header, async (h) => {
        const text =
          typeof h === 'string'
            ? h
            : JSON.stringify(h, (_, v: unknown) => (typeof v === 'bigint' ? 0 : v));
        try {
          await (await openBytes(fileOf(text, new Uint8Array(24)))).close();
        } catch (e) {
          expect(e).toBeInstanceOf(CheckpointError);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('writing', () => {
  it('comes back bit-equal, and the same tensors make the same bytes in any order', async () => {
    const tensor = fc
      .record({
        floats: fc.boolean(),
        shape: fc.array(fc.nat(4), { maxLength: 3 }),
        seed: fc.nat(),
      })
      .map(({ floats, shape, seed }) => {
        const n = shape.reduce((a, b) => a * b, 1);
        const bits = Uint32Array.from({ length: n }, (_, i) => Math.imul(seed + i, 2654435761));
        return {
          dtype: floats ? ('F32' as const) : ('I32' as const),
          shape,
          data: floats ? new Float32Array(bits.buffer) : new Int32Array(bits.buffer),
        };
      });
    const path = join(dir, 'written.safetensors');
    const names = fc.oneof(fc.string(), fc.nat(99).map(String)).filter((n) => n !== '__metadata__');
    await fc.assert(
      fc.asyncProperty(fc.dictionary(names, tensor), async (tensors) => {
        await writeSafetensors(path, tensors, { format: 'pt' });
        const bytes = await readFile(path);
        const file = await SafetensorsFile.open(path);
        expect(file.names().sort()).toEqual(Object.keys(tensors).sort());
        for (const [name, { data, shape }] of Object.entries(tensors)) {
          expect(file.header.tensors.get(name)!.shape).toEqual(shape);
          const back = await file.read(name);
          expect(new Uint8Array(back.buffer)).toEqual(new Uint8Array(data.buffer));
        }
        await file.close();
        await writeSafetensors(path, Object.fromEntries(Object.entries(tensors).reverse()));
        expect((await readFile(path)).equals(bytes)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('refuses data that do not fit', async () => {
    const write = (dtype: 'F32' | 'I32', data: Float32Array) =>
      writeSafetensors(join(dir, 'bad.safetensors'), { t: { dtype, shape: [2], data } });
    await expect(write('F32', new Float32Array(3))).rejects.toThrow(/'t' is F32 \[2\].*3 elements/);
    await expect(write('I32', new Float32Array(2))).rejects.toThrow(/'t' is I32.*Float32Array/);
  });
});
