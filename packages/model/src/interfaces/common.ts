/** What the interfaces share. */
import {
  ConfigError,
  modelKey,
  type Loss,
  type Model,
  type SequenceSample,
  type Stats,
  type TrainEngine,
} from '@realhf/api';

/** The model's engine, if it can train. */
export function trainable(model: Model): TrainEngine {
  if (!('trainBatch' in model.engine))
    throw new ConfigError(
      `model ${modelKey(model.name)} has an inference engine; a train step needs a train one`,
    );
  return model.engine;
}

/** Seed of what a call draws (tokens, dropout): an item that comes again in a later step draws anew. */
export function samplingSeed(model: Model): number {
  return (model.seed + Math.imul(model.version.globalStep + 1, 0x9e3779b1)) | 0;
}

/** Stats of a loss over a dataset, weighted by the loss's own weight. */
export async function evaluateLoss(
  model: Model,
  batches: AsyncIterable<SequenceSample> | Iterable<SequenceSample>,
  loss: Loss,
): Promise<Stats> {
  const sums: Record<string, number> = {};
  let total = 0;
  for await (const batch of batches) {
    // Of the whole batch: an engine's stats are of all parts, and all ranks leave out the same batches.
    const all = Float64Array.of(loss.weight(batch));
    await model.engine.overData?.(all, 'sum');
    const weight = all[0]!;
    if (weight === 0) continue;
    total += weight;
    for (const [name, value] of Object.entries(await model.engine.evalBatch(batch, loss)))
      sums[name] = (sums[name] ?? 0) + weight * value;
  }
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / total]));
}
