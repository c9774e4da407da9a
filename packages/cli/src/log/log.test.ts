import { mkdtempSync, readFileSync, readdirSync, rmSync, appendFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { crc32c, maskedCrc32c } from './crc32c.js';
import { MetricsWriter } from './metrics-writer.js';
import { createProgress, formatSeconds, formatValue } from './progress.js';
import { TensorBoardWriter } from './tensorboard.js';

const dir = mkdtempSync(join(tmpdir(), 'real-log-'));
afterAll(() => {
  rmSync(dir, { recursive: true });
});

describe('crc32c', () => {
  it.each([
    ['123456789', new TextEncoder().encode('123456789'), 0xe3069283],
    ['32 zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['0 to 31', Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    ['31 to 0', Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
    ['nothing', new Uint8Array(0), 0],
  ])('of %s', (_, bytes, sum) => {
    expect(crc32c(bytes)).toBe(sum);
  });
});

type Fields = Record<number, (number | Uint8Array)[]>;

/** A protobuf reader of its own, as the other end. */
function decode(bytes: Uint8Array): Fields {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const fields: Fields = {};
  let at = 0;
  const varint = () => {
    let v = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const b = bytes[at++]!;
      v |= BigInt(b & 127) << shift;
      if (b < 128) return Number(BigInt.asIntN(64, v));
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const list = (fields[tag >> 3] ??= []);
    if ((tag & 7) === 0) list.push(varint());
    else if ((tag & 7) === 1) list.push(view.getFloat64((at += 8) - 8, true));
    else if ((tag & 7) === 5) list.push(view.getFloat32((at += 4) - 4, true));
    else {
      const length = varint();
      list.push(bytes.subarray(at, (at += length)));
    }
  }
  return fields;
}

function records(path: string): Fields[] {
  const bytes = new Uint8Array(readFileSync(path));
  const view = new DataView(bytes.buffer);
  const out: Fields[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = Number(view.getBigUint64(at, true));
    expect(view.getUint32(at + 8, true)).toBe(maskedCrc32c(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(view.getUint32(at + 12 + length, true)).toBe(maskedCrc32c(data));
    out.push(decode(data));
    at += 16 + length;
  }
  return out;
}

const text = (v: unknown) => new TextDecoder().decode(v as Uint8Array);

describe('TensorBoardWriter', () => {
  it('writes scalars that read back', () => {
    const writer = new TensorBoardWriter(join(dir, 'tb'), { now: () => 1_700_000_000_250 });
    writer.scalars(3, { loss: 0.5, 'actor/kl': -2 });
    writer.scalars(3_000_000_000, { loss: Number.NaN });
    writer.close();
    const [version, first, second] = records(writer.path);
    expect(version![1]).toEqual([1_700_000_000.25]);
    expect(text(version![3]![0])).toBe('brain.Event:2');
    expect(first![2]).toEqual([3]);
    const values = decode(first![5]![0] as Uint8Array)[1]!.map((v) => decode(v as Uint8Array));
    expect(values.map((v) => [text(v[1]![0]), v[2]![0]])).toEqual([
      ['loss', 0.5],
      ['actor/kl', -2],
    ]);
    expect(second![2]).toEqual([3_000_000_000]);
  });
  it('a resumed run gets a new file that voids later steps of the old one', () => {
    const now = () => 1_700_000_000_250;
    const writer = new TensorBoardWriter(join(dir, 'tb'), { now, resumeFrom: 7 });
    writer.close();
    expect(readdirSync(join(dir, 'tb'))).toHaveLength(2);
    const start = records(writer.path)[1]!;
    expect(start[2]).toEqual([7]);
    expect(decode(start[7]![0] as Uint8Array)).toEqual({ 1: [1] });
  });
});

describe('MetricsWriter', () => {
  const lines = (path: string) =>
    readFileSync(path, 'utf8')
      .trim()
      .split('\n')
      .map((l) => (JSON.parse(l) as { step: number }).step);
  it('appends, and on resume drops later and torn lines', () => {
    const path = join(dir, 'metrics.jsonl');
    const first = new MetricsWriter(path);
    for (const step of [1, 2, 3, 4]) first.write({ step, loss: 1 / step, text: 'é' });
    first.close();
    appendFileSync(path, '{"step":5,"lo');
    const second = new MetricsWriter(path, { resumeStep: 2 });
    second.write({ step: 3, loss: 9 });
    second.close();
    expect(lines(path)).toEqual([1, 2, 3]);
    appendFileSync(path, '{"step":');
    new MetricsWriter(path, { resumeStep: 9 }).close();
    expect(lines(path)).toEqual([1, 2, 3]);
    new MetricsWriter(path, { resumeStep: 0 }).close();
    expect(readFileSync(path, 'utf8')).toBe('');
  });
  it('names file and line of a broken record', () => {
    const path = join(dir, 'broken.jsonl');
    appendFileSync(path, '{"step":1}\n???\n');
    expect(() => new MetricsWriter(path, { resumeStep: 2 })).toThrow(`${path}:2 is not JSON`);
  });
});

describe('progress', () => {
  it('prints plain lines, at most one per interval, first and last always', () => {
    let time = 0;
    let out = '';
    const progress = createProgress({
      total: 10,
      output: { write: (t: string) => (out += t) },
      now: () => time,
    });
    for (let step = 1; step <= 10; step++) {
      time += 300;
      progress.update({ step, tokens: 30, values: { loss: 1 / step } });
    }
    progress.stop();
    expect(out.split('\n').filter(Boolean)).toEqual([
      'step 1/10  100 tokens/s  loss 1  eta 3s',
      'step 5/10  100 tokens/s  loss 0.2  eta 2s',
      'step 9/10  100 tokens/s  loss 0.1111  eta 0s',
      'step 10/10  100 tokens/s  loss 0.1  eta 0s',
    ]);
  });
  it('prints the line held back when stopped early', () => {
    let out = '';
    const progress = createProgress({
      total: 10,
      output: { write: (t: string) => (out += t) },
      now: () => 5,
    });
    progress.update({ step: 1, tokens: 1, values: {} });
    progress.update({ step: 2, tokens: 1, values: {} });
    progress.stop();
    expect(out).toContain('step 2/10  ? tokens/s');
  });
  it('formats', () => {
    expect([3, 185, 7620, Infinity].map(formatSeconds)).toEqual(['3s', '3m05s', '2h07m', '?']);
    expect([0, 0.5, 123456.7, 1e-5, -2.00001, Number.NaN].map(formatValue)).toEqual([
      '0',
      '0.5',
      '123500',
      '1.00e-5',
      '-2',
      'NaN',
    ]);
  });
});
