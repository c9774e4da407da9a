import { modelName, SequenceSample, type MFCDef } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SequenceBuffer } from './buffer.js';
import { buildGraph } from './graph.js';

const mfc = (name: string, inputKeys: string[], outputKeys: string[], nSeqs = 2): MFCDef => ({
  name,
  nSeqs,
  interfaceType: outputKeys.length > 0 ? 'inference' : 'train_step',
  interfaceImpl: { type_: 'fake', args: {} },
  model: modelName(name),
  inputKeys,
  outputKeys,
});
/** One length-1 sequence per id and key, metadata only. */
const meta = (ids: readonly string[], keys: readonly string[]) => {
  const per = <T>(value: T) => Object.fromEntries(keys.map((k) => [k, value]));
  return new SequenceSample({
    ids,
    seqlens: per(ids.map(() => [1])),
    data: null,
    dtypes: per('i32' as const),
    trailingShapes: per([]),
  });
};
const graph = buildGraph([mfc('a', ['x'], ['y']), mfc('b', ['x', 'y'], [], 4)], {
  datasetKeys: ['x'],
});

describe('SequenceBuffer', () => {
  it('gives batches in order of arrival once their keys are there, and evicts what all have used', () => {
    const buffer = new SequenceBuffer(graph);
    expect(buffer.shortage()).toBe(4);
    buffer.put(meta(['0', '1', '2', '3'], ['x']));
    expect(buffer.shortage()).toBe(0);
    expect([buffer.ready('a'), buffer.ready('b')]).toEqual([2, 0]);
    const first = buffer.take('a')!;
    const second = buffer.take('a')!;
    expect([first.ids, second.ids]).toEqual([
      ['0', '1'],
      ['2', '3'],
    ]);
    expect(first.data).toBeNull();
    expect(buffer.take('a')).toBeUndefined();

    // The later batch finishes first; b still waits for the earlier one.
    buffer.amend(meta(second.ids, ['y']));
    expect(buffer.complete('a', second.ids)).toEqual([]);
    expect(buffer.take('b')).toBeUndefined();
    buffer.amend(meta(first.ids, ['y']));
    buffer.complete('a', first.ids);
    const batch = buffer.take('b')!;
    expect(batch.ids).toEqual(['0', '1', '2', '3']);
    expect([...batch.keys]).toEqual(['x', 'y']);
    expect(buffer.complete('b', batch.ids)).toEqual(['0', '1', '2', '3']);
    expect(buffer.size).toBe(0);
    // The same ids may come again in the next epoch.
    buffer.put(meta(['0', '1'], ['x']));
    expect(buffer.take('a')!.ids).toEqual(['0', '1']);
  });

  it('says what is wrong', () => {
    const buffer = new SequenceBuffer(graph, { capacity: 4 });
    buffer.put(meta(['0', '1'], ['x']));
    expect(() => {
      buffer.put(meta(['2', '1'], ['x']));
    }).toThrow(/id '1' is in the sequence buffer already/);
    expect(buffer.ids).toEqual(['0', '1']);
    expect(() => {
      buffer.put(meta(['2'], ['z']));
    }).toThrow(/delivered z without key 'x', which MFC 'a' needs/);
    expect(() => {
      buffer.put(meta(['2', '3', '4'], ['x']));
    }).toThrow(/holds 2 of at most 4 items, 3 more do not fit/);
    expect(() => {
      buffer.amend(meta(['9'], ['y']));
    }).toThrow(/cannot amend id '9'/);
    expect(() => {
      buffer.amend(meta(['0'], ['x']));
    }).toThrow(/id '0' has key 'x' already/);
    expect(() => buffer.complete('a', ['0'])).toThrow(/has not taken/);
    const batch = buffer.take('a')!;
    buffer.complete('a', batch.ids);
    expect(() => buffer.complete('a', batch.ids)).toThrow(/has completed already/);
    expect(() => buffer.take('q')).toThrow(/unknown MFC 'q'; the graph has a, b/);
    expect(() => new SequenceBuffer(graph, { capacity: 3 })).toThrow(/below the 4 sequences/);
  });

  it('asks for whole steps ahead of the source, within the capacity', () => {
    const buffer = new SequenceBuffer(graph, { capacity: 8 });
    expect(buffer.shortage(2)).toBe(8);
    buffer.put(meta(['0', '1', '2', '3'], ['x']));
    expect(buffer.shortage(2)).toBe(4);
    buffer.take('a');
    expect(buffer.shortage(1)).toBe(4);
    expect(buffer.shortage(3)).toBe(4);
  });

  it('runs any layered graph, in any order of completion, to the end with each batch seen once', () => {
    const arbitrary = fc.record({
      // MFC i reads the dataset or any earlier outputs.
      reads: fc.array(fc.array(fc.nat(100), { maxLength: 3 }), { minLength: 1, maxLength: 6 }),
      sizes: fc.array(fc.constantFrom(1, 2, 4, 8), { minLength: 6, maxLength: 6 }),
      steps: fc.integer({ min: 1, max: 3 }),
      choices: fc.infiniteStream(fc.nat(1000)),
    });
    fc.assert(
      fc.property(arbitrary, ({ reads, sizes, steps, choices }) => {
        const g = buildGraph(
          reads.map((picks, i) => {
            const inputs = picks.map((p) => (p % (i + 1) === 0 ? 'x' : `k${(p % (i + 1)) - 1}`));
            return mfc(
              `m${i}`,
              [...new Set(inputs.length > 0 ? inputs : ['x'])],
              [`k${i}`],
              sizes[i],
            );
          }),
          { datasetKeys: ['x'] },
        );
        const buffer = new SequenceBuffer(g);
        const all = Array.from({ length: g.stepSize * steps }, (_, i) => `${i}`);
        buffer.put(meta(all, ['x']));
        const seen = new Map<string, string[]>(g.order.map((n) => [n, []]));
        const flying: { name: string; ids: readonly string[] }[] = [];
        const evicted: string[] = [];
        for (;;) {
          for (const name of g.order) {
            for (let batch = buffer.take(name); batch; batch = buffer.take(name)) {
              seen.get(name)!.push(...batch.ids);
              flying.push({ name, ids: batch.ids });
            }
          }
          if (flying.length === 0) break;
          const at = (choices.next().value ?? 0) % flying.length;
          const [call] = flying.splice(at, 1);
          buffer.amend(meta(call!.ids, g.nodes.get(call!.name)!.mfc.outputKeys));
          evicted.push(...buffer.complete(call!.name, call!.ids));
        }
        expect(buffer.size).toBe(0);
        expect(new Set(evicted)).toEqual(new Set(all));
        expect(evicted).toHaveLength(all.length);
        for (const ids of seen.values()) expect(ids).toEqual(all);
      }),
    );
  });
});
