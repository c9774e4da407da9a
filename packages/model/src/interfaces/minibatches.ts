/** PPO's inner loop: one optimizer step per token-balanced part of a prepared batch, in order. */
import type { InterfaceCall, Loss, Model, SequenceSample, Stats } from '@realhf/api';
import { splitSample } from '@realhf/packing';

import { trainable } from './common.js';

/** Mean of each stat over the minibatches that have it. All minibatches of a call have one learning rate. */
export async function trainMinibatches(
  model: Model,
  sample: SequenceSample,
  loss: Loss,
  nMinibatches: number,
  call: InterfaceCall,
): Promise<Stats> {
  const parts: Stats[] = [];
  // As many on every data-parallel rank, or they would wait for each other for ever.
  const fewest = Float64Array.of(-sample.bs);
  await model.engine.overData?.(fewest, 'max');
  const k = Math.min(nMinibatches, -fewest[0]!);
  const minSize = Math.max(1, Math.min(call.nMbs ?? 1, Math.floor(sample.bs / k)));
  for (const mb of splitSample(sample, k, { key: 'packed_input_ids', minSize })) {
    parts.push(
      await trainable(model).trainBatch(mb, loss, {
        versionSteps: model.version.globalStep,
        ...call,
      }),
    );
  }
  return averageStats(parts);
}

/** Mean of each stat over the parts that have it. */
export function averageStats(parts: readonly Stats[]): Stats {
  const names = new Set(parts.flatMap((p) => Object.keys(p)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = parts.flatMap((p) => p[name] ?? []);
      return [name, values.reduce((a, b) => a + b, 0) / values.length];
    }),
  );
}
