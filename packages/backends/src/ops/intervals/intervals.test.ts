import { expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { copyBlocks } from './copy-blocks.js';
import { copyBlocksReference } from './copy-blocks.reference.js';
import { packHalves, unpackHalves } from './halves.js';

/** Blocks of wildly different shapes with gaps, sources in reverse order; multiples of 4 if aligned. */
function blockList(rand: () => number, count: number, unit: number) {
  const shapes = Array.from({ length: count }, (_, i) => {
    const run = unit * (i % 5 === 0 ? 200 + Math.floor(rand() * 300) : 1 + Math.floor(rand() * 9));
    const rows = i % 7 === 0 ? 1 + Math.floor(rand() * 30) : 1;
    const gap = () => unit * Math.floor(rand() * 3);
    return { run, rows, srcStride: run + gap(), dstStride: run + gap() };
  });
  const size = shapes.reduce((n, s) => n + s.rows * Math.max(s.srcStride, s.dstStride) + unit, 8);
  const blocks: number[][] = [];
  const words: number[] = [];
  let [first, dst, src] = [0, 4, size];
  for (const { run, rows, srcStride, dstStride } of shapes) {
    src -= rows * srcStride + unit;
    const from = src - (src % unit);
    blocks.push([from, dst, run, srcStride, dstStride, rows]);
    words.push(first, from, dst, run, srcStride, dstStride);
    first += run * rows;
    dst += rows * dstStride + unit;
  }
  return { blocks, words: Uint32Array.from(words), total: first, size: size + (size % 4) };
}

onAdapters((r) => {
  // The kernel has one form; a GPU has larger workgroups and tiles only.
  const asGpu = (isCpu: boolean) =>
    new Proxy(r(), { get: (t, k) => (k === 'isCpu' ? isCpu : Reflect.get(t, k, t)) as unknown });

  test('copyBlocks: any strided blocks, blended or not, nothing else touched', async () => {
    const rand = random(11);
    for (const count of [1, 2, 53])
      for (const unit of [1, 4]) {
        const { blocks, words, total, size } = blockList(rand, count, unit);
        const [src, before] = [normal(size, rand), normal(size, rand)];
        const list = upload(r(), words, [count, 6], 'u32');
        for (const eta of [1, 0.25])
          for (const cpu of [true, false]) {
            const runs: Float32Array[] = [];
            for (let again = 0; again < 2; again++) {
              const dst = upload(r(), before);
              copyBlocks(asGpu(cpu), {
                src: upload(r(), src),
                blocks: list,
                total,
                dst,
                aligned: unit === 4,
                eta,
              });
              runs.push(await download(r(), dst));
            }
            const want = copyBlocksReference(src, blocks, before, eta);
            if (eta === 1) expect(runs[0]!.findIndex((x, i) => x !== want[i])).toBe(-1);
            else expectClose(runs[0]!, want);
            expect(runs[1]!.findIndex((x, i) => x !== runs[0]![i])).toBe(-1);
          }
      }
  });

  test('copyBlocks keeps the bits of a NaN and refuses lists of another shape', async () => {
    const [src, dst] = [poisoned(r(), [8]), upload(r(), new Float32Array(8))];
    const blocks = upload(r(), Uint32Array.of(0, 0, 0, 8, 8, 8), [1, 6], 'u32');
    copyBlocks(r(), { src, blocks, total: 8, dst, aligned: true });
    expect(await r().read(dst)).toEqual(await r().read(src));
    const three = upload(r(), Uint32Array.of(0, 0, 1), [1, 3], 'u32');
    expect(() => {
      copyBlocks(r(), { src, blocks: three, total: 1, dst });
    }).toThrow(/not u32 \[n, 6\]/);
    expect(() => {
      copyBlocks(r(), { src, blocks, total: 7, dst, aligned: true });
    }).toThrow(/multiple of 4/);
  });

  test('halves: there and back is the nearest f16, and copyBlocks toHalf is the same number', async () => {
    const rand = random(3);
    for (const n of [1, 2, 37, 1024]) {
      const data = normal(n, rand).map((x, i) => x * [1, 1e-6, 1e-8, 3e4][i % 4]!);
      const floats = upload(r(), data);
      const words = upload(r(), new Uint32Array(Math.ceil(n / 2)).fill(~0), undefined, 'u32');
      packHalves(r(), floats, words);
      const back = poisoned(r(), [n]);
      unpackHalves(r(), words, back);
      const got = await download(r(), back);
      got.forEach((x, i) => {
        // f16: steps of 2^-24 below 2^-14, of a 1024th of the power of two above; infinite beyond 65504.
        const size = Math.abs(data[i]!);
        const step = 2 ** Math.max(-24, Math.floor(Math.log2(size)) - 10);
        if (size >= 65520) expect(x).toBe(Math.sign(data[i]!) * Infinity);
        else expect(Math.abs(x - data[i]!)).toBeLessThanOrEqual(step / 2);
      });
      for (const aligned of n % 4 === 0 ? [true, false] : [false]) {
        const direct = poisoned(r(), [n]);
        const blocks = upload(r(), Uint32Array.of(0, 0, 0, n, n, n), [1, 6], 'u32');
        copyBlocks(r(), { src: floats, blocks, total: n, dst: direct, aligned, toHalf: true });
        expect(await download(r(), direct)).toEqual(got);
      }
      // A value that is an f16 already stays.
      packHalves(r(), back, words);
      unpackHalves(r(), words, back);
      expect(await download(r(), back)).toEqual(got);
    }
    expect(() => {
      packHalves(r(), r().alloc([3]), r().alloc([1], 'u32'));
    }).toThrow(/need u32 \[2\]/);
  });
});
