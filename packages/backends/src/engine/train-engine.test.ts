import {
  optimizerSchema,
  type LocalParam,
  type Loss,
  type OptimizerConfig,
  type Stats,
} from '@realhf/api';
import { describe, expect, it } from 'vitest';

import { expectClose, normal, random } from '../testing/numbers.js';
import { onAdapters } from '../testing/test-recorders.js';
import { WebGpuOps } from '../webgpu-ops.js';
import { StatSums } from './network-engine.js';
import { tableNetwork, tableSize, tokensOf } from './test-network.js';
import { AdamEngine, decayRuns } from './train-engine.js';

/** Mean over tokens of (value − token / 10)² · scale. */
const squares = (scale = 1, more: Partial<Loss> = {}): Loss => ({
  name: 'squares',
  weight: (s) => s.i32('packed_input_ids').length,
  compute({ sample, values = new Float32Array(), totalWeight }) {
    const d = [...sample.i32('packed_input_ids')].map((k, t) => values[t]! - k / 10);
    const sum = d.reduce((a, x) => a + x * x, 0);
    return {
      loss: (scale * sum) / totalWeight,
      dValues: Float32Array.from(d, (x) => (2 * scale * x) / totalWeight),
      stats: { error: { sum, count: d.length } },
    };
  },
  ...more,
});
const batch = tokensOf([[1, 2, 3], [5], [7, 7, 8, 9], [60, 1]]);
const initial = normal(2 * tableSize, random(1));
const optimizer = optimizerSchema.parse({
  lr: 0.01,
  weight_decay: 0.1,
  gradient_clipping: 0.3,
  warmup_steps_proportion: 0.25,
});

/** AdamW (arXiv 1711.05101) on the table, in f64; returns the parameters after each step. */
function naive(o: OptimizerConfig, total: number, steps: number): Float64Array[] {
  const p = Float64Array.from(initial);
  const m = new Float64Array(p.length);
  const v = new Float64Array(p.length);
  const tokens = [...batch.i32('packed_input_ids')];
  const warmup = Math.floor(o.warmup_steps_proportion * total);
  return Array.from({ length: steps }, (_, step) => {
    const g = new Float64Array(p.length);
    for (const k of tokens) {
      const d = (2 * (p[k]! + p[tableSize + k]! - k / 10)) / tokens.length;
      g[k]! += d;
      g[tableSize + k]! += d;
    }
    const norm = Math.hypot(...g);
    const clip = Math.min(1, o.gradient_clipping / norm);
    const done = (step - warmup) / (total - warmup);
    const lr =
      step < warmup ? (o.lr * (step + 1)) / warmup : (o.lr * (1 + Math.cos(Math.PI * done))) / 2;
    for (let i = 0; i < p.length; i++) {
      m[i] = o.beta1 * m[i]! + (1 - o.beta1) * g[i]! * clip;
      v[i] = o.beta2 * v[i]! + (1 - o.beta2) * (g[i]! * clip) ** 2;
      const mHat = m[i]! / (1 - o.beta1 ** (step + 1));
      const vHat = v[i]! / (1 - o.beta2 ** (step + 1));
      const decay = i < tableSize ? o.weight_decay : 0;
      p[i] = p[i]! - lr * (mHat / (Math.sqrt(vHat) + o.eps) + decay * p[i]!);
    }
    return Float64Array.from(p);
  });
}

onAdapters((r) => {
  const engineOn = (o = optimizer, totalSteps = 8) =>
    new AdamEngine(tableNetwork(new WebGpuOps(r()), initial), { optimizer: o, totalSteps });
  const paramsOf = (e: AdamEngine) => e.network.ops.read(e.network.params[0]!);
  const train = (e: AdamEngine, step: number, loss = squares(), nMbs = 1): Promise<Stats> =>
    e.trainBatch(batch, loss, { versionSteps: step, nMbs });

  describe('AdamEngine', () => {
    it('is AdamW with a clipped norm and the scheduled rate; norms and biases do not decay', async () => {
      const engine = engineOn();
      for (const [step, want] of naive(optimizer, 8, 5).entries()) {
        const stats = await train(engine, step);
        expect(stats.grad_norm).toBeGreaterThan(0.3);
        expectClose(await paramsOf(engine), want, 1e-5, 1e-5);
      }
    });

    it('defect 13: takes the same step in one and in several microbatches', async () => {
      const runs = await Promise.all(
        [1, 2, 4].map(async (n) => {
          const engine = engineOn();
          const stats = await train(engine, 3, squares(), n);
          return { stats, params: await paramsOf(engine) };
        }),
      );
      for (const run of runs.slice(1)) {
        expectClose(
          [run.stats.loss!, run.stats.error!],
          [runs[0]!.stats.loss!, runs[0]!.stats.error!],
        );
        expectClose(run.params, runs[0]!.params, 1e-5, 1e-6);
      }
    });

    it('defect 17: goes on from a saved state bit by bit', async () => {
      const whole = engineOn();
      for (const step of [0, 1]) await train(whole, step);
      const resumed = engineOn();
      resumed.loadState(await whole.saveState());
      for (const step of [2, 3])
        expect(await train(resumed, step)).toEqual(await train(whole, step));
      expect(await paramsOf(resumed)).toEqual(await paramsOf(whole));
      expect(() => {
        resumed.loadState({ steps: 0, params: [new Float32Array(3)], m: [], v: [] });
      }).toThrow(/segment 0 has 3 elements, the model has 128/);
    });

    it('defect 21: type empty updates nothing', async () => {
      const engine = engineOn({ ...optimizer, type: 'empty' });
      expect((await train(engine, 0)).loss).toBeGreaterThan(0);
      expect(await paramsOf(engine)).toEqual(initial);
    });

    it.each([
      [
        'a loss',
        squares(NaN),
        /loss 'squares' is NaN on ids s0, s1, s2…; parameters were not changed/,
      ],
      [
        'a gradient',
        squares(1, {
          compute: (x) => ({ ...squares().compute(x), dValues: new Float32Array(10).fill(NaN) }),
        }),
        /gradient norm of loss 'squares' is NaN at step 1/,
      ],
    ])('leaves parameters alone on %s that is not finite', async (_, loss, message) => {
      const engine = engineOn();
      await train(engine, 0);
      const before = await engine.saveState();
      await expect(train(engine, 1, loss)).rejects.toThrow(message);
      expect(await engine.saveState()).toEqual(before);
    });

    it('an early stop takes no step, even where the gradient overflows, and the run goes on', async () => {
      const skipStep = (stats: Stats) => (stats.error! > 0 ? 'far off' : undefined);
      const engine = engineOn();
      const stats = await train(engine, 0, squares(1e30, { skipStep }));
      expect(stats).toMatchObject({ skipped: 1, lr: 0 });
      expect((await engine.saveState()).steps).toBe(0);
      expect(await paramsOf(engine)).toEqual(initial);
      const never = { skipStep: () => undefined };
      expect(await train(engine, 0, squares(1, never))).toMatchObject({ skipped: 0 });
      expectClose(await paramsOf(engine), naive(optimizer, 8, 1)[0]!, 1e-5, 1e-5);
    });

    it('refuses a batch that no token of the loss is in', async () => {
      const none = squares(1, { weight: () => 0 });
      await expect(train(engineOn(), 0, none)).rejects.toThrow(
        /loss 'squares' has no tokens to learn from in this batch of 4/,
      );
    });

    it('evaluates without gradients', async () => {
      const engine = engineOn();
      const { loss, error } = await engine.evalBatch(batch, squares(2), { nMbs: 3 });
      expectClose([loss!], [2 * error!]);
      const grads = await engine.network.ops.read(engine.network.gradients()[0]!);
      expect(grads.every((g) => g === 0)).toBe(true);
      expect(await paramsOf(engine)).toEqual(initial);
    });
  });

  describe('StatSums', () => {
    it('gives sums over counts, 0 where nothing was counted', async () => {
      const sums = new StatSums();
      sums.add({ a: { sum: 6, count: 2 }, none: { sum: 0, count: 0 } });
      sums.add(undefined);
      sums.add({ a: { sum: 3, count: 4 }, b: { sum: -1, count: 1 } });
      expect(await sums.means(engineOn().network)).toEqual({ a: 1.5, b: -1, none: 0 });
    });
  });
});

describe('decayRuns', () => {
  const param = (segment: number, offset: number, decay: boolean): LocalParam => ({
    row: 0,
    spec: { name: 'p', shape: [64], offset, size: 64, layer: 0, decay, init: 'zeros' },
    segment,
    offset,
    shape: [64],
  });
  it('joins neighbours of one kind and covers every segment to its end', () => {
    const locals = [
      param(0, 0, true),
      param(0, 64, true),
      param(0, 128, false),
      param(0, 192, true),
      param(1, 0, true),
      param(1, 64, false),
    ];
    expect(decayRuns(locals, [256, 200])).toEqual([
      { segment: 0, begin: 0, end: 128, decay: true },
      { segment: 0, begin: 128, end: 192, decay: false },
      { segment: 0, begin: 192, end: 256, decay: true },
      { segment: 1, begin: 0, end: 64, decay: true },
      { segment: 1, begin: 64, end: 200, decay: false },
    ]);
  });
});
