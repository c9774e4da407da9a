/**
 * A real embedding and head of more than lavapipe binds (128 MiB): Llama 3's 128,256 tokens, 288 wide, 148 MB each. A step
 * of training, saved and loaded again, moved to two ranks; SwiftShader, which binds 1 GiB, has them in one piece.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { singleDevice } from '@realhf/api';
import { AdamEngine, type WebGpuOps } from '@realhf/backends';
import { ReaLModel } from '@realhf/model';
import { readCheckpointDir, writeCheckpointDir } from '@realhf/model/node';
import { expect, test } from 'vitest';

import { adamConfig, llama, relativeError, tokensSample, useOps } from './harness.js';
import { likelihood } from './parallel-suite.js';
import { reallocDifference } from './realloc-suite.js';

const one = useOps('swiftshader');
const cut = useOps('system-software');
const config = llama({
  nLayers: 1,
  hiddenDim: 288,
  nHeads: 4,
  headDim: 72,
  intermediateDim: 256,
  vocabSize: 128_256,
  attentionScale: 1 / Math.sqrt(72),
});
const names = ['0.wte.weight', '1.attn.qkv.weight', '2.head.weight'];

const piecesOf = (model: ReaLModel) =>
  names.map((name) => model.locals.filter((p) => p.spec.name === name).length);

/** A step of Adam; the model, what it reported, and its gradients. */
async function step(ops: WebGpuOps) {
  const model = new ReaLModel({ ops, config });
  model.init(7);
  const optimizer = adamConfig({ lr: 1e-3, eps: 1e-3 });
  const engine = new AdamEngine(model, { optimizer, totalSteps: 10 });
  const sample = tokensSample(config, [7, 5]);
  const stats = await engine.trainBatch(sample, likelihood, { versionSteps: 0, nMbs: 1 });
  const grads = [];
  for (const name of names) grads.push(await model.dump(name, 'grads'));
  engine.free();
  return { model, stats, grads };
}

test('one step is that of the whole; it is saved and loaded to the bit', async () => {
  const want = await step(one());
  const got = await step(cut());
  expect(piecesOf(want.model)).toEqual([1, 1, 1]);
  expect(piecesOf(got.model)).toEqual([2, 1, 2]);
  for (const [k, v] of Object.entries(want.stats))
    expect(Math.abs(got.stats[k]! - v), k).toBeLessThan(1e-5 * Math.max(1, Math.abs(v)));
  for (const [i, name] of names.entries()) {
    expect(relativeError(got.grads[i]!, want.grads[i]!), name).toBeLessThan(1e-5);
    const params = [await got.model.dump(name), await want.model.dump(name)] as const;
    expect(relativeError(...params), name).toBeLessThan(1e-6);
  }
  want.model.free();

  const dir = mkdtempSync(join(tmpdir(), 'large-tensors-'));
  try {
    await writeCheckpointDir(join(dir, 'saved'), {
      config,
      getParam: (name) => got.model.dump(name),
    });
    const checkpoint = await readCheckpointDir(join(dir, 'saved'), { isCritic: false });
    const again = new ReaLModel({ ops: cut(), config });
    await checkpoint.stream(
      async (name, begin, values) => {
        again.loadRange(name, begin, values);
        await cut().sync();
      },
      { ranges: (name) => again.heldRanges(name) },
    );
    await checkpoint.close();
    for (const name of names) {
      const [a, b] = [await again.dump(name), await got.model.dump(name)];
      expect(Buffer.compare(Buffer.from(a.buffer), Buffer.from(b.buffer)), name).toBe(0);
    }
    again.free();
  } finally {
    rmSync(dir, { recursive: true });
  }
  got.model.free();
});

test('it moves to two tensor-parallel ranks', async () => {
  const to = { ...singleDevice, tensorParallelSize: 2 };
  const c = { from: singleDevice, to, shift: 1 };
  expect(await reallocDifference(cut(), config, config, c)).toBeUndefined();
});
