/** SequenceSample: gather of slices is the identity for every kind of key, and errors name the key and the id. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DataError, RealError } from './errors.js';
import { dtypeOf, SequenceSample, totalLength } from './sequence-sample.js';
import type { SampleDType, SeqLens } from './sequence-sample.js';
import type { HostArray } from './tensor.js';

const arrays = { f32: Float32Array, i32: Int32Array, u32: Uint32Array, u8: Uint8Array };

interface KeySpec {
  readonly dtype: SampleDType;
  readonly trailing: readonly number[];
  readonly lens: SeqLens;
  readonly here: boolean;
}

function build(specs: Readonly<Record<string, KeySpec>>, n: number, meta = false): SequenceSample {
  const pick = <T>(f: (s: KeySpec) => T) =>
    Object.fromEntries(Object.entries(specs).map(([k, s]) => [k, f(s)]));
  let seed = 1;
  return new SequenceSample({
    ids: Array.from({ length: n }, (_, i) => `id${i}`),
    seqlens: pick((s) => s.lens),
    dtypes: pick((s) => s.dtype),
    trailingShapes: pick((s) => s.trailing),
    data: meta
      ? null
      : pick((s) => {
          if (!s.here) return null;
          const t: HostArray = new arrays[s.dtype](
            totalLength(s.lens) * s.trailing.reduce((a, b) => a * b, 1),
          );
          return t.map(() => (seed = (seed * 7919) % 251));
        }),
    metadata: { random_id: Array.from({ length: n }, (_, i) => i * 3) },
  });
}

/** Items of `perItem` sequences (undefined: any number of them, none included). */
const lensOf = (n: number, perItem?: number) =>
  fc.array(
    fc.array(fc.nat(6), {
      minLength: perItem ?? 0,
      maxLength: perItem ?? 4,
    }),
    { minLength: n, maxLength: n },
  );
const keySpec = (n: number, perItem?: number) =>
  fc.record({
    dtype: fc.constantFrom<SampleDType>('f32', 'i32', 'u32', 'u8'),
    trailing: fc.constantFrom<readonly number[]>([], [3], [2, 2]),
    lens: lensOf(n, perItem),
    here: fc.boolean(),
  });
const sampleArb = fc.integer({ min: 1, max: 7 }).chain((n) =>
  fc
    .record({
      single: keySpec(n, 1),
      pairs: keySpec(n, 2),
      many: keySpec(n),
      absent: keySpec(n, 1).map((s) => ({ ...s, here: false })),
    })
    .chain((specs) =>
      fc.record({
        sample: fc.boolean().map((meta) => build(specs, n, meta)),
        cuts: fc.array(fc.nat(n), { maxLength: 4 }),
      }),
    ),
);

const plain = (s: SequenceSample) => ({
  ids: s.ids,
  seqlens: s.seqlens,
  data: s.data,
  dtypes: s.dtypes,
  trailingShapes: s.trailingShapes,
  metadata: s.metadata,
});

describe('gather ∘ split', () => {
  it('is the identity for any cuts, empty parts included', () => {
    fc.assert(
      fc.property(sampleArb, ({ sample, cuts }) => {
        const at = [0, ...cuts.sort((a, b) => a - b), sample.bs];
        const parts = at.slice(1).map((end, i) => sample.slice(at[i]!, end));
        expect(plain(SequenceSample.gather(parts))).toEqual(plain(sample));
        expect(plain(SequenceSample.gather(sample.unpack()))).toEqual(plain(sample));
      }),
    );
  });

  it('holds key by key', () => {
    fc.assert(
      fc.property(sampleArb, ({ sample }) => {
        for (const key of sample.keys) {
          const one = SequenceSample.gather(sample.unpack(), [key]);
          expect([...one.keys]).toEqual([key]);
          expect(one.seqlens[key]).toEqual(sample.seqlens[key]);
          expect(one.data?.[key]).toEqual(sample.data?.[key]);
          expect(plain(sample.select([key]))).toEqual(plain(one));
        }
      }),
    );
  });

  it('slices are views, not copies', () => {
    const s = build({ x: { dtype: 'f32', trailing: [2], lens: [[1], [2], [1]], here: true } }, 3);
    const part = s.slice(1, 3);
    expect(part.f32('x').buffer).toBe(s.f32('x').buffer);
    expect(part.f32('x').byteOffset).toBe(8);
    expect(part.f32('x').length).toBe(6);
    expect(part.metadata).toEqual({ random_id: [3, 6] });
  });

  it('unpacks 4,096 items without going over the prefix again and again', () => {
    const lens = Array.from({ length: 4096 }, () => [4]);
    const s = build({ x: { dtype: 'i32', trailing: [], lens, here: true } }, 4096);
    const start = performance.now();
    expect(s.unpack()).toHaveLength(4096);
    expect(performance.now() - start).toBeLessThan(1000);
  });
});

describe('accessors', () => {
  const s = build(
    {
      tokens: { dtype: 'i32', trailing: [], lens: [[2, 3], [1]], here: true },
      gone: { dtype: 'f32', trailing: [], lens: [[1], [1]], here: false },
    },
    2,
  );
  it('flattens lengths and builds cuSeqlens', () => {
    expect(s.bs).toBe(2);
    expect(s.lengths('tokens')).toEqual([2, 3, 1]);
    expect(s.cuSeqlens('tokens')).toEqual(new Int32Array([0, 2, 5, 6]));
    expect(() => s.lengths('nope')).toThrow(/'nope'.*tokens, gone/);
  });
  it('refuses the wrong type, an unknown key and a key that is not here', () => {
    expect(s.i32('tokens')).toHaveLength(6);
    expect(() => s.f32('tokens')).toThrow(/'tokens' holds i32, asked for Float32Array/);
    expect(() => s.get('gone')).toThrow(/'gone'/);
    expect(() => s.meta().get('tokens')).toThrow(/metadata only/);
  });
  it('meta keeps everything but tensors', () => {
    expect(plain(s.meta())).toEqual({ ...plain(s), data: null });
  });
  it('slices outside the sample are errors', () => {
    for (const [a, b] of [
      [-1, 1],
      [0, 3],
      [2, 1],
      [0.5, 1],
    ] as const)
      expect(() => s.slice(a, b)).toThrow(DataError);
  });
});

describe('update, remap, select', () => {
  const base = () =>
    build({ prompts: { dtype: 'i32', trailing: [], lens: [[2], [3]], here: true } }, 2);
  const scores = build({ scores: { dtype: 'f32', trailing: [], lens: [[1], [1]], here: true } }, 2);

  it('adds keys in place', () => {
    const s = base();
    s.update(scores);
    expect([...s.keys]).toEqual(['prompts', 'scores']);
    expect(s.f32('scores')).toBe(scores.f32('scores'));
    expect(plain(s.slice(1, 2)).seqlens).toEqual({ prompts: [[3]], scores: [[1]] });
  });
  it('a metadata-only sample amended with data knows the other keys as absent', () => {
    const s = base().meta();
    s.update(scores);
    expect(s.data).toEqual({ prompts: null, scores: scores.f32('scores') });
    const t = base();
    t.update(scores.meta());
    expect(t.data?.scores).toBeNull();
  });
  it('needs the same ids in the same order', () => {
    const s = base();
    expect(() => {
      s.update(scores.slice(0, 1));
    }).toThrow(/same ids.*id0, id1.*id0/);
  });
  it('renames keys and refuses a collision', () => {
    const s = base();
    s.update(scores);
    const r = s.remapKeys({ prompts: 'packed_input_ids' });
    expect([...r.keys]).toEqual(['packed_input_ids', 'scores']);
    expect(r.i32('packed_input_ids')).toBe(s.i32('prompts'));
    expect(() => s.remapKeys({ prompts: 'scores' })).toThrow(/'prompts' and 'scores'/);
  });
  it('selects keys, and says which sample lacks one', () => {
    const s = base();
    expect(() => s.select(['scores'])).toThrow(/id0, id1.*'scores'/);
  });
});

describe('fromDefault', () => {
  it('infers lengths and trailing shapes by key', () => {
    const s = SequenceSample.fromDefault({
      ids: ['a', 'b'],
      seqlens: [3, 2],
      data: {
        packed_input_ids: new Int32Array(5),
        packed_logprobs: new Float32Array(3),
        rewards: new Float32Array(2),
        packed_logits_mask: new Uint32Array(10),
      },
    });
    expect(s.seqlens).toEqual({
      packed_input_ids: [[3], [2]],
      packed_logprobs: [[2], [1]],
      rewards: [[1], [1]],
      packed_logits_mask: [[3], [2]],
    });
    expect(s.trailingShapes.packed_logits_mask).toEqual([2]);
    expect(s.dtypes.packed_logprobs).toBe('f32');
  });
  it('refuses an unknown key, a wrong count and an empty sequence of log-probs', () => {
    const make = (key: string, data: HostArray, seqlens = [3]) =>
      SequenceSample.fromDefault({ ids: ['a'], seqlens, data: { [key]: data } });
    expect(() => make('toString', new Int32Array(3))).toThrow(/'toString'/);
    expect(() => make('packed_input_ids', new Int32Array(4))).toThrow(/'packed_input_ids'.*a/);
    expect(() => make('logprobs', new Float32Array(0), [0])).toThrow(/'logprobs', id 'a'/);
  });
});

describe('validation', () => {
  const good = {
    ids: ['a', 'b'],
    seqlens: { x: [[2], [1]] },
    data: { x: new Float32Array(3) },
    dtypes: { x: 'f32' as const },
    trailingShapes: { x: [] },
  };
  it.each([
    ['duplicate ids', { ids: ['a', 'a'] }, /duplicate id 'a'/],
    ['a key only in seqlens', { seqlens: { x: [[2], [1]], y: [[1], [1]] } }, /'y'.*dtypes.*a, b/],
    ['a key only in data', { data: { x: good.data.x, y: null } }, /'y'.*data/],
    ['too few lengths', { seqlens: { x: [[3]] } }, /'x'.*1 items.*2 ids: a, b/],
    ['a length that is no count', { seqlens: { x: [[2.5], [1]] } }, /'x', id 'a'.*2\.5/],
    ['another type', { dtypes: { x: 'i32' as const } }, /'x' holds f32, declared i32.*a, b/],
    ['another size', { data: { x: new Float32Array(4) } }, /'x' has 4 elements.*3.*a, b/],
    ['another trailing shape', { trailingShapes: { x: [2] } }, /'x' has 3 elements.*6/],
    ['metadata of another length', { metadata: { m: [1] } }, /metadata 'm'.*1 values.*a, b/],
  ])('%s', (_, change, message) => {
    const make = () => new SequenceSample({ ...good, ...change });
    expect(make).toThrow(message);
    expect(make).toThrow(DataError);
    try {
      make();
    } catch (e) {
      expect(RealError.is(e)).toBe(true);
    }
  });
  it('hot paths may skip it', () => {
    expect(new SequenceSample({ ...good, ids: ['a', 'a'] }, { validate: false }).bs).toBe(2);
  });
  it('gather refuses mixed types, duplicate ids and nothing at all', () => {
    const x = new SequenceSample(good);
    const y = new SequenceSample({
      ...good,
      ids: ['c', 'd'],
      data: { x: new Int32Array(3) },
      dtypes: { x: 'i32' },
    });
    expect(() => SequenceSample.gather([x, y])).toThrow(/'x' is f32\[\].*i32\[\].*c, d/);
    expect(() => SequenceSample.gather([x.meta(), y.meta()])).toThrow(/'x'/);
    expect(() => SequenceSample.gather([x, x])).toThrow(/duplicate id 'a'/);
    expect(() => SequenceSample.gather([])).toThrow(DataError);
  });
  it('names types', () => {
    expect(Object.values(arrays).map((A) => dtypeOf(new A(1)))).toEqual(Object.keys(arrays));
  });
});
