import fc from 'fast-check';
import { expect, test } from 'vitest';

import { download, poisoned, upload } from '../../testing/device-data.js';
import { expectClose, expectDirectional, normal, random } from '../../testing/numbers.js';
import { onAdapters } from '../../testing/test-recorders.js';
import { embedding, embeddingBackward } from './embedding.js';
import { embeddingBackwardReference, embeddingReference } from './embedding.reference.js';
import { rowsById } from './rows-by-id.js';

test('reference gradient agrees with differences', () => {
  const rand = random(1);
  const [table, d] = [normal(6 * 3, rand), normal(5 * 3, rand)];
  const ids = [1, 4, 1, 9, 0];
  expectDirectional(
    ([t]) => embeddingReference(t!, 3, ids, 0, 2).reduce((s, v, i) => s + v * d[i]!, 0),
    [table],
    [embeddingBackwardReference(d, 3, ids, new Float64Array(18), 0, 2)],
    rand,
  );
});

test('rowsById lists every kept position once, ascending, under its row', () => {
  const ids = fc.array(fc.integer({ min: -3, max: 12 }), { maxLength: 60 });
  fc.assert(
    fc.property(
      ids,
      fc.integer({ min: -2, max: 5 }),
      fc.integer({ min: 1, max: 9 }),
      (list, offset, rows) => {
        const { csr, unique } = rowsById(Int32Array.from(list), offset, rows);
        const seen: [number, number][] = [];
        for (let u = 0; u < unique; u++)
          for (let p = csr[unique + u]!; p < csr[unique + u + 1]!; p++)
            seen.push([csr[u]!, csr[2 * unique + 1 + p]!]);
        const want = list
          .map((id, i): [number, number] => [id - offset, i])
          .filter(([row]) => row >= 0 && row < rows)
          .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        expect(seen).toEqual(want);
        expect(csr.length).toBe(2 * unique + 1 + want.length);
      },
    ),
  );
});

onAdapters((r) => {
  test.each([
    [1, 1, 1],
    [31, 11, 37],
    [200, 53, 24],
  ])('%i ids, table [%i, %i], shard and factor', async (n, rows, dim) => {
    const rand = random(n);
    const [rowOffset, factor] = [3, 1.5];
    const ids = Int32Array.from({ length: n }, () => Math.floor(rand() * (rows + 8)));
    const [table, d, start] = [
      normal(rows * dim, rand),
      normal(n * dim, rand),
      normal(n * dim, rand),
    ];
    const [tTable, tIds] = [upload(r(), table, [rows, dim]), upload(r(), ids, [n], 'i32')];
    const out = poisoned(r(), [n, dim]);
    embedding(r(), tTable, tIds, out, { rowOffset, factor });
    const want = embeddingReference(table, dim, ids, rowOffset, factor);
    expectClose(await download(r(), out), want);
    const sum = upload(r(), start, [n, dim]);
    embedding(r(), tTable, tIds, sum, { rowOffset, factor, accumulate: true });
    expectClose(
      await download(r(), sum),
      want.map((v, i) => v + start[i]!),
    );
    const dOut = upload(r(), d, [n, dim]);
    const run = () => {
      const dTable = upload(r(), table, [rows, dim]);
      embeddingBackward(r(), dOut, ids, dTable, { rowOffset, factor });
      return download(r(), dTable);
    };
    const got = await run();
    const grad = embeddingBackwardReference(
      d,
      dim,
      ids,
      Float64Array.from(table),
      rowOffset,
      factor,
    );
    expectClose(got, grad, 1e-5, 1e-5);
    expect(await run()).toEqual(got);
  });

  test('sizes that do not fit are refused', () => {
    const [table, out] = [poisoned(r(), [4, 3]), poisoned(r(), [2, 5])];
    const ids = upload(r(), new Int32Array(2), [2], 'i32');
    expect(() => {
      embedding(r(), table, ids, out);
    }).toThrow(/need \[vocab, dim\]/);
  });
});
