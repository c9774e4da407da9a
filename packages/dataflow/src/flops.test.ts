import { modelName, SequenceSample, type MFCDef, type SeqLens } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { shape } from './__fixtures__/configs.js';
import { callFlops, forwardFlops, generateFlops, trainFlops } from './flops.js';

const mha = shape({ nKvHeads: 8 });

describe('FLOPs', () => {
  it('are those of the reference where it counts right: q, k, v heads alike', () => {
    const { nLayers: L, hiddenDim: h, intermediateDim: I, vocabSize: V } = mha;
    const [S, Q] = [30 + 50, 30 ** 2 + 50 ** 2];
    const blocks = 2 * L * (4 * S * h ** 2 + 2 * Q * h + 3 * S * h * I);
    expect(forwardFlops(mha, [30, 50])).toBe(blocks + 2 * S * V * h);
    expect(trainFlops(mha, [30, 50])).toBe(4 * blocks + 6 * S * V * h);
    expect(trainFlops(mha, [30, 50], false)).toBe(3 * (blocks + 2 * S * V * h));
  });

  it('count key-value heads, scalar heads and experts as they are', () => {
    const { nLayers: L, hiddenDim: h, headDim: d, intermediateDim: I, vocabSize: V } = mha;
    const tokens = 80;
    const less = forwardFlops(mha, [tokens]) - forwardFlops(shape({ nKvHeads: 2 }), [tokens]);
    expect(less).toBe(2 * L * tokens * h * 2 * 6 * d);
    const critic = shape({ nKvHeads: 8, isCritic: true });
    expect(forwardFlops(mha, [tokens]) - forwardFlops(critic, [tokens])).toBe(
      2 * tokens * h * (V - 1),
    );
    const moe = shape({
      nKvHeads: 8,
      moe: {
        numExperts: 8,
        topK: 2,
        routing: 'aux_loss',
        auxLossCoeff: 0,
        zLossCoeff: 0,
        tokenDropPolicy: 'probs',
        inputJitterEps: 0,
      },
    });
    expect(forwardFlops(moe, [tokens]) - forwardFlops(mha, [tokens])).toBe(
      2 * L * tokens * (3 * h * I + 8 * h),
    );
  });

  it('of generation: a prompt pass, then a step per token but the last', () => {
    // Token by token by hand: a step at context c sees c tokens, itself included.
    const head = 2 * mha.hiddenDim * mha.vocabSize;
    const block = (forwardFlops(mha, [1]) - head) / mha.nLayers - 4 * mha.hiddenDim;
    let sum = forwardFlops(mha, [10]) - 10 * head + head;
    for (let c = 11; c < 14; c++) sum += head + mha.nLayers * (block + c * 4 * mha.hiddenDim);
    expect(generateFlops(mha, [10], [14])).toBe(sum);
    expect(generateFlops(mha, [10], [10])).toBe(forwardFlops(mha, [10]) - 10 * head);
  });

  it('of a call: from its keys, groups and renames included', () => {
    const meta = (seqlens: Record<string, SeqLens>) =>
      new SequenceSample({
        ids: ['a', 'b'],
        seqlens,
        data: null,
        dtypes: Object.fromEntries(Object.keys(seqlens).map((k) => [k, 'i32' as const])),
        trailingShapes: Object.fromEntries(Object.keys(seqlens).map((k) => [k, []])),
      });
    const mfc = (change: Partial<MFCDef>): MFCDef => ({
      name: 'm',
      nSeqs: 2,
      interfaceType: 'inference',
      interfaceImpl: { type_: 'x', args: {} },
      model: modelName('actor'),
      inputKeys: ['packed_input_ids'],
      outputKeys: ['values'],
      ...change,
    });
    const full = meta({ packed_input_ids: [[4, 5], [6]] });
    expect(callFlops(mfc({}), mha, full, undefined)).toBe(forwardFlops(mha, [4, 5, 6]));
    expect(callFlops(mfc({ interfaceType: 'train_step' }), mha, full, undefined)).toBe(
      trainFlops(mha, [4, 5, 6]),
    );
    const renamed = mfc({ inputKeys: ['x'], inputKeyRemap: { x: 'packed_input_ids' } });
    expect(callFlops(renamed, mha, meta({ x: [[3], [3]] }), undefined)).toBe(
      forwardFlops(mha, [3, 3]),
    );
    const prompts = meta({ packed_prompts: [[2], [3]] });
    expect(callFlops(mfc({ interfaceType: 'generate' }), mha, prompts, full)).toBe(
      generateFlops(mha, [2, 2, 3], [4, 5, 6]),
    );
    expect(callFlops(mfc({}), mha, prompts, undefined)).toBeUndefined();
  });
});
