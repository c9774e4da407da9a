/**
 * Supervised fine-tuning in a loop of one's own, on whatever device the Ops come from: node.ts and index.html call it, and
 * get the same losses. A tiny model learns the letters of a few lines; items are put into batches of near-equal tokens.
 */
import { modelConfigSchema, optimizerSchema, SequenceSample, type Ops } from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import { ReaLModel, sftLoss } from '@realhf/model';
import { reorderToBalancedBatches } from '@realhf/packing';

const lines = [
  'one fish',
  'two fish',
  'red fish',
  'blue fish',
  'this one has a star',
  'a little car',
];
const perBatch = 3;

/** Lines as one packed tensor of character codes; the first character of each is a prompt, so it is not trained on. */
function pack(texts: readonly string[]): SequenceSample {
  const tokens = texts.map((text) => Array.from(text, (c) => c.charCodeAt(0)));
  return SequenceSample.fromDefault({
    ids: texts,
    seqlens: tokens.map((t) => t.length),
    data: {
      packed_input_ids: Int32Array.from(tokens.flat()),
      prompt_mask: Uint8Array.from(tokens.flatMap((t) => t.map((_, i) => (i === 0 ? 1 : 0)))),
    },
  });
}

/** Trains for `steps` batches. @returns the loss of each, before its update. */
export async function train(ops: Ops, steps: number): Promise<number[]> {
  const config = modelConfigSchema.parse({
    ...{ family: 'llama', nLayers: 2, nHeads: 4, nKvHeads: 2, headDim: 8, hiddenDim: 32 },
    ...{ intermediateDim: 64, vocabSize: 128, maxPositions: 32, norm: 'rms', normEps: 1e-5 },
    ...{ mlp: 'gated', activation: 'silu', rope: {}, attentionScale: 1 / Math.sqrt(8) },
  });
  const model = new ReaLModel({ ops, config });
  model.init(1);
  const optimizer = optimizerSchema.parse({ lr: 1e-2, weight_decay: 0 });
  const engine = new AdamEngine(model, { optimizer, totalSteps: steps });
  const { indices } = reorderToBalancedBatches(
    lines.map((line) => line.length),
    perBatch,
  );
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const at = (step * perBatch) % lines.length;
    const batch = pack(Array.from(indices.subarray(at, at + perBatch), (i) => lines[i]!));
    const { loss } = await engine.trainBatch(batch, sftLoss, { versionSteps: step });
    losses.push(loss!);
  }
  return losses;
}
