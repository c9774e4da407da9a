import { RealError, type ModelConfig } from '@realhf/api';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { initParams, initValues } from './init.js';
import { paramAlignment, shardMap } from './shard-map.js';
import { paramCount, paramSpecs } from './specs.js';
import { stageLayers } from './stage-layers.js';
import { gpt2Config, llamaConfig } from './test-configs.js';
import { headsOf, shardRule } from './tensor-slices.js';

const whole = { tp: { rank: 0, size: 1 }, pp: { rank: 0, size: 1 } };

const anyConfig = fc
  .record({
    gpt2: fc.boolean(),
    kv: fc.constantFrom(1, 2, 4, 8),
    isCritic: fc.boolean(),
    tiedEmbedding: fc.boolean(),
    qkvBias: fc.boolean(),
    qkNorm: fc.boolean(),
    mlpBias: fc.boolean(),
    nLayers: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ gpt2, kv, ...change }): ModelConfig =>
    gpt2
      ? gpt2Config({ ...change, nHeads: 8, nKvHeads: kv })
      : llamaConfig({ ...change, nHeads: 8, nKvHeads: kv }),
  );

describe('paramSpecs', () => {
  it('tile the flat space without gaps, layers ascending', () => {
    fc.assert(
      fc.property(anyConfig, (config) => {
        let at = 0;
        let layer = 0;
        for (const s of paramSpecs(config)) {
          expect(s.offset).toBe(at);
          expect(s.size).toBe(s.shape.reduce((a, b) => a * b, 1));
          expect(s.layer).toBeGreaterThanOrEqual(layer);
          expect(s.name.startsWith(`${s.layer}.`)).toBe(true);
          expect(s.decay).toBe(s.shape.length === 2);
          at += s.size;
          layer = s.layer;
        }
        expect(at).toBe(paramCount(config));
      }),
    );
  });

  it('name what a llama and a gpt2 have', () => {
    const names = (c: ModelConfig) => paramSpecs(c).map((s) => s.name);
    expect(names(llamaConfig({ nLayers: 1 }))).toEqual([
      '0.wte.weight',
      '1.attn.ln.weight',
      '1.attn.qkv.weight',
      '1.attn.o.weight',
      '1.mlp.ln.weight',
      '1.mlp.gate_up.weight',
      '1.mlp.down.weight',
      '2.ln_f.weight',
      '2.head.weight',
    ]);
    const gpt2 = names(gpt2Config());
    expect(gpt2).toContain('0.wpe.weight');
    expect(gpt2).toContain('2.mlp.fc.bias');
    expect(gpt2).not.toContain('3.head.weight');
    const critic = paramSpecs(gpt2Config({ isCritic: true }));
    expect(critic.at(-1)).toMatchObject({ name: '3.head.weight', shape: [1, 20] });
  });

  it('start gemma norms at zero', () => {
    const init = (norm: ModelConfig['norm']) => paramSpecs(llamaConfig({ norm }))[1]!.init;
    expect([init('gemma'), init('rms')]).toEqual(['zeros', 'ones']);
  });
});

describe('shardMap', () => {
  it('is the whole space for one rank', () => {
    fc.assert(
      fc.property(anyConfig, (config) => {
        const { map, locals } = shardMap(config, whole);
        const specs = paramSpecs(config);
        expect(locals.map((l) => l.shape)).toEqual(specs.map((s) => s.shape));
        expect(map.intervals.map((i) => [i.param, i.global, i.length])).toEqual(
          specs.map((s) => [s.name, s.offset, s.size]),
        );
      }),
    );
  });

  it('covers every element over all ranks; storage is aligned, disjoint and within its segments', () => {
    const sizes = fc.record({
      tp: fc.constantFrom(1, 2, 4, 8),
      pp: fc.integer({ min: 1, max: 3 }),
      max: fc.oneof(fc.integer({ min: 640, max: 6000 }), fc.constant(2 ** 20)),
    });
    fc.assert(
      fc.property(anyConfig, sizes, (config, { tp, pp, max }) => {
        const covered = new Uint8Array(paramCount(config));
        for (let p = 0; p < pp; p++)
          for (let t = 0; t < tp; t++) {
            const { map, locals } = shardMap(
              config,
              { tp: { rank: t, size: tp }, pp: { rank: p, size: pp } },
              { maxSegmentElements: max },
            );
            const held = map.segmentSizes.map((n) => new Uint8Array(n));
            expect(Math.max(...map.segmentSizes)).toBeLessThanOrEqual(max);
            for (const i of map.intervals) {
              covered.fill(1, i.global, i.global + i.length);
              const segment = held[i.segment]!;
              expect(segment.subarray(i.local, i.local + i.length).every((b) => b === 0)).toBe(
                true,
              );
              expect(i.local + i.length).toBeLessThanOrEqual(segment.length);
              segment.fill(1, i.local, i.local + i.length);
            }
            for (const l of locals) {
              expect(l.offset % paramAlignment).toBe(0);
              const n = l.shape.reduce((a, b) => a * b, 1);
              const mine = map.intervals.filter(
                (i) =>
                  i.param === l.spec.name &&
                  i.segment === l.segment &&
                  i.local >= l.offset &&
                  i.local < l.offset + n,
              );
              expect(mine.reduce((sum, i) => sum + i.length, 0)).toBe(n);
              expect(mine[0]).toMatchObject({ segment: l.segment, local: l.offset });
            }
          }
        expect(covered.every((b) => b === 1)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('cuts each kind of parameter along the right side', () => {
    const config = llamaConfig({ nHeads: 4, nKvHeads: 2 });
    const rule = (name: string, rank: number, size: number) =>
      shardRule(
        config,
        paramSpecs(config).find((s) => s.name === name)!,
        { rank, size },
      );
    const d = config.headDim;
    expect(rule('1.attn.qkv.weight', 1, 2)).toEqual({
      rows: [
        [2 * d, 4 * d],
        [5 * d, 6 * d],
        [7 * d, 8 * d],
      ],
      columns: [0, 20],
      shape: [4 * d, 20],
    });
    expect(rule('1.attn.o.weight', 1, 2)).toMatchObject({
      columns: [2 * d, 4 * d],
      shape: [20, 12],
    });
    expect(rule('1.mlp.gate_up.weight', 1, 2).rows).toEqual([
      [12, 24],
      [36, 48],
    ]);
    expect(rule('1.mlp.down.weight', 1, 2).columns).toEqual([12, 24]);
    expect(rule('0.wte.weight', 1, 2).rows).toEqual([[20, 40]]);
    expect(rule('3.ln_f.weight', 1, 2).shape).toEqual([20]);
  });

  it('gives every rank the kv heads that its q heads read', () => {
    const config = llamaConfig({ nHeads: 8, nKvHeads: 2 });
    const kv = (size: number) =>
      Array.from({ length: size }, (_, rank) => headsOf(config, { rank, size }).kv);
    expect(kv(4)).toEqual([
      [0, 1],
      [0, 1],
      [1, 2],
      [1, 2],
    ]);
    expect(kv(2)).toEqual([
      [0, 1],
      [1, 2],
    ]);
    expect(headsOf(config, { rank: 1, size: 2 }).q).toEqual([4, 8]);
  });

  it('keeps the embedding on both ends of a pipeline when tied, and not for a critic', () => {
    const names = (config: ModelConfig) =>
      shardMap(config, { ...whole, pp: { rank: 1, size: 2 } }).locals.map((l) => l.spec.name);
    expect(names(gpt2Config())).toContain('0.wte.weight');
    expect(names(gpt2Config())).not.toContain('0.wpe.weight');
    expect(names(gpt2Config({ isCritic: true }))).not.toContain('0.wte.weight');
    expect(names(gpt2Config({ tiedEmbedding: false }))).not.toContain('0.wte.weight');
  });

  it('says what does not fit', () => {
    const error = (f: () => unknown) => {
      try {
        f();
      } catch (e) {
        if (RealError.is(e)) return e.message;
      }
      return 'no error';
    };
    const tp = (change: Partial<ModelConfig>, size: number) =>
      error(() => shardMap(llamaConfig(change), { ...whole, tp: { rank: 0, size } }));
    expect(tp({}, 3)).toMatch(/size 3 does not divide nHeads = 4/);
    expect(tp({ intermediateDim: 25 }, 2)).toMatch(/intermediateDim = 25/);
    expect(tp({ vocabSize: 41 }, 2)).toBe('no error');
    expect(tp({ vocabSize: 5 }, 4)).toMatch(/size 4 leaves a rank without any of the 5 tokens/);
    expect(tp({ nHeads: 12, nKvHeads: 4, vocabSize: 42 }, 3)).toMatch(/straddle/);
    expect(tp({ nHeads: 4, nKvHeads: 3 }, 1)).toMatch(/nKvHeads 3 does not divide/);
    expect(error(() => shardMap(llamaConfig(), { ...whole, pp: { rank: 0, size: 5 } }))).toMatch(
      /pipeline parallel size 5 exceeds the 4 layers/,
    );
    expect(error(() => shardMap(llamaConfig(), { ...whole, tp: { rank: 2, size: 2 } }))).toMatch(
      /rank 2 of 2/,
    );
    expect(
      error(() => shardMap(llamaConfig({ hiddenDim: 65 }), whole, { maxSegmentElements: 64 })),
    ).toMatch(
      /'0.wte.weight' has 2600 elements on this rank, a segment holds 64, its smallest part 65/,
    );
  });
});

describe('stageLayers', () => {
  it('is contiguous and as even as can be', () => {
    fc.assert(
      fc.property(anyConfig, fc.integer({ min: 1, max: 3 }), (config, size) => {
        const stages = stageLayers(config, size);
        expect(stages).toHaveLength(size);
        expect(stages[0]![0]).toBe(0);
        expect(stages.at(-1)![1]).toBe(config.nLayers + 2);
        stages.forEach(([a, b], i) => {
          expect(b).toBeGreaterThan(a);
          if (i > 0) expect(a).toBe(stages[i - 1]![1]);
        });
      }),
    );
    expect(stageLayers(llamaConfig({ nLayers: 4 }), 2)).toEqual([
      [0, 3],
      [3, 6],
    ]);
  });
});

describe('initParams', () => {
  it('does not depend on how the space is cut', () => {
    const config = llamaConfig();
    const spec = paramSpecs(config)[2]!;
    const value = initParams(config, 7);
    const all = value(spec);
    fc.assert(
      fc.property(fc.nat(spec.size), fc.nat(spec.size), (a, b) => {
        const [begin, end] = [Math.min(a, b), Math.max(a, b)];
        const part = value(spec, spec.offset + begin, spec.offset + end);
        expect(part).toEqual(all.slice(begin, end));
      }),
    );
  });

  it('is normal with the standard deviation of its kind', () => {
    const config = llamaConfig({ hiddenDim: 200, initStd: 0.5 });
    const stat = (name: string, seed: number) => {
      const x = initParams(config, seed)(paramSpecs(config).find((s) => s.name === name)!);
      const mean = x.reduce((a, b) => a + b, 0) / x.length;
      const moment = (k: number) => x.reduce((a, b) => a + (b - mean) ** k, 0) / x.length;
      return { mean, std: Math.sqrt(moment(2)), kurtosis: moment(4) / moment(2) ** 2 };
    };
    const wte = stat('0.wte.weight', 1);
    expect(Math.abs(wte.mean)).toBeLessThan(0.02);
    expect(Math.abs(wte.std - 0.5)).toBeLessThan(0.02);
    expect(Math.abs(wte.kurtosis - 3)).toBeLessThan(0.3);
    expect(Math.abs(stat('1.mlp.down.weight', 1).std - 0.25)).toBeLessThan(0.02);
    expect(stat('0.wte.weight', 2).mean).not.toBe(wte.mean);
    expect(stat('0.wte.weight', 1 + 2 ** 40).mean).not.toBe(wte.mean);
  });

  it('differs beyond 2^32 elements and fills zeros and ones', () => {
    const spec = paramSpecs(llamaConfig())[0]!;
    const at = (i: number) => initValues(spec, i, i + 4, 0, 1);
    expect(at(2 ** 33)).not.toEqual(at(0));
    expect(at(2 ** 34)).not.toEqual(at(2 ** 33));
    expect([...initValues({ ...spec, init: 'ones' }, 0, 2, 0, 1)]).toEqual([1, 1]);
    expect([...initValues({ ...spec, init: 'zeros' }, 0, 2, 0, 1)]).toEqual([0, 0]);
  });
});
