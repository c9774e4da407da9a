/** Trading memory for time changes no numbers: gradient checkpointing, logits in chunks, microbatches. Steps are few submits and leak nothing. */
import { SequenceSample, type Loss } from '@realhf/api';
import { AdamEngine, NetworkEngine } from '@realhf/backends';
import { sftLoss, type ReaLModel } from '@realhf/model';
import { describe, expect, test } from 'vitest';

import {
  adamConfig,
  batchOf,
  expectTensorsClose,
  gpt2,
  llama,
  makeModel,
  normal,
  relativeError,
  tokensSample,
  useOps,
  wholeTensors,
} from './harness.js';

const ops = useOps();

/** Output and gradients of one pass. */
async function onePass(model: ReaLModel, lengths: readonly number[]) {
  const sample = tokensSample(model.config, lengths);
  const shifted = lengths.reduce((n, l) => n + l - 1, 0);
  const pass = await model.forward(batchOf(sample), {
    train: true,
    entropy: true,
    temperature: 0.8,
  });
  await pass.backward({ dLogProbs: normal(shifted, 1), dEntropy: normal(shifted, 2) });
  return { output: pass.output!, grads: await wholeTensors([model], 'grads') };
}

test.each([llama(), gpt2()])('$family: gradient checkpointing changes no bit', async (config) => {
  const plain = makeModel(ops(), config);
  const checkpointing = makeModel(ops(), config, { gradientCheckpointing: true });
  expect(await onePass(checkpointing, [9, 6])).toEqual(await onePass(plain, [9, 6]));
  plain.free();
  checkpointing.free();
});

test('logits in chunks give the numbers of one chunk', async () => {
  const lengths = [64, 64, 60, 61];
  const plain = makeModel(ops(), llama());
  const chunked = makeModel(ops(), llama(), { logitsBytes: 1 });
  const want = await onePass(plain, lengths);
  const got = await onePass(chunked, lengths);
  expect(relativeError(got.output.logProbs!, want.output.logProbs!)).toBeLessThan(1e-6);
  expect(relativeError(got.output.entropy!, want.output.entropy!)).toBeLessThan(1e-6);
  expectTensorsClose(got.grads, want.grads, 1e-6);
  plain.free();
  chunked.free();
});

describe('a large vocabulary', () => {
  const fresh = useOps();
  test('never has all its logits at once', async () => {
    const config = llama({ vocabSize: 8192, nLayers: 1 });
    const lengths = [64, 64, 64, 64];
    const all = 4 * 256 * config.vocabSize;
    const model = makeModel(fresh(), config, { logitsBytes: all / 4 });
    model.gradients();
    const before = fresh().memory().peak;
    await onePass(model, lengths);
    expect(fresh().memory().peak - before).toBeLessThan(all / 2);
    model.free();
  });
});

describe('microbatches', () => {
  const config = llama();
  const sample = tokensSample(config, [9, 4, 12, 5, 7]);
  /** A mean over all answer tokens: wrong if a microbatch divides by its own count. */
  const run = async (options: { nMbs?: number; maxTokensPerMb?: number }) => {
    const model = makeModel(ops(), config);
    const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 2 });
    const evaluated = await engine.evalBatch(sample, sftLoss, options);
    const logProbs = await engine.logProbs(sample, options);
    const stats = await engine.trainBatch(sample, sftLoss, { versionSteps: 0, ...options });
    const out = { evaluated, stats, logProbs, grads: await wholeTensors([model], 'grads') };
    model.free();
    return out;
  };
  test('their number changes neither loss nor gradient', async () => {
    const want = await run({});
    expect(want.stats).toMatchObject(want.evaluated);
    for (const o of [{ nMbs: 2 }, { nMbs: 4 }, { maxTokensPerMb: 12 }, { nMbs: 99 }]) {
      const got = await run(o);
      for (const [k, v] of Object.entries(want.stats))
        expect(Math.abs(got.stats[k]! - v), k).toBeLessThan(1e-5 * Math.max(1, Math.abs(v)));
      expect(got.logProbs).toEqual(want.logProbs);
      expectTensorsClose(got.grads, want.grads, 1e-5);
    }
  });
  test('one without anything to learn from adds nothing', async () => {
    const lengths = [9, 1, 12];
    const part = tokensSample(config, lengths);
    // The second sequence is one token, the third is all prompt.
    part.u8('prompt_mask').fill(1, 10);
    const grads = [];
    for (const [input, nMbs] of [
      [part, 3],
      [part.slice(0, 1), 1],
    ] as const) {
      const model = makeModel(ops(), config);
      const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 2 });
      const { loss } = await engine.trainBatch(input, sftLoss, { versionSteps: 0, nMbs });
      grads.push({ loss, tensors: await wholeTensors([model], 'grads') });
      engine.free();
      model.free();
    }
    expect(grads[0]!.loss).toBe(grads[1]!.loss);
    expectTensorsClose(grads[0]!.tensors, grads[1]!.tensors, 1e-6);
  });
  test('their number does not change what is generated', async () => {
    const model = makeModel(ops(), config);
    const engine = new NetworkEngine(model);
    const generate = (o: { nMbs?: number; maxTokensPerMb?: number }) =>
      engine.generate(
        sample.remapKeys({ packed_input_ids: 'packed_prompts' }),
        {
          max_new_tokens: 6,
          min_new_tokens: 0,
          greedy: false,
          top_p: 0.9,
          top_k: 20,
          temperature: 1,
          force_no_logits_mask: false,
        },
        { eosTokenId: 1, padTokenId: null, seed: 4, ...o },
      );
    const want = await generate({});
    for (const o of [{ nMbs: 2 }, { nMbs: 5 }, { maxTokensPerMb: 12 }])
      expect(await generate(o)).toEqual(want);
    model.free();
  });
});

test('twenty steps: memory stays flat, nothing leaks, a microbatch is few submits', async () => {
  const config = llama();
  const before = ops().memory().live;
  const model = makeModel(ops(), config);
  const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 20 });
  const sample = tokensSample(config, [9, 4, 12, 5]);
  const used: { live: number; held: number; submits: number }[] = [];
  for (let step = 0; step < 20; step++) {
    const { submits } = ops().recorder.counts;
    await engine.trainBatch(sample, sftLoss, { versionSteps: step, nMbs: 2 });
    const { live, held } = ops().memory();
    used.push({ live, held, submits: ops().recorder.counts.submits - submits });
  }
  for (const u of used.slice(2)) {
    expect(u.held).toBe(used[1]!.held);
    expect(u.live).toBe(used[1]!.live);
    // Forward, head, backward of each microbatch; norm and update.
    expect(u.submits).toBeLessThanOrEqual(12);
  }
  engine.free();
  model.free();
  expect(ops().memory().live).toBe(before);
});

test('what throws half way gives its memory back', async () => {
  const model = makeModel(ops(), llama());
  const engine = new AdamEngine(model, { optimizer: adamConfig(), totalSteps: 2 });
  const sample = tokensSample(model.config, [9, 4]);
  await engine.trainBatch(sample, sftLoss, { versionSteps: 0 });
  const { live } = ops().memory();
  const broken: Loss = {
    ...sftLoss,
    compute: () => {
      throw new Error('broken loss');
    },
  };
  await expect(engine.trainBatch(sample, broken, { versionSteps: 1 })).rejects.toThrow('broken');
  await expect(engine.evalBatch(sample, broken)).rejects.toThrow('broken');
  const nan: Loss = { ...sftLoss, compute: () => ({ loss: NaN }) };
  await expect(engine.trainBatch(sample, nan, { versionSteps: 1 })).rejects.toThrow('NaN');
  const outside = SequenceSample.fromDefault({
    ids: ['a'],
    seqlens: [2],
    data: { packed_input_ids: Int32Array.of(3, 128), prompt_mask: Uint8Array.of(1, 0) },
  });
  await expect(engine.evalBatch(outside, sftLoss)).rejects.toThrow('vocabulary');
  expect(ops().memory().live).toBe(live);
  engine.free();
  model.free();
});
