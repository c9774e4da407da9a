/**
 * For a machine with f16 matrices: tokens sampled by the generation engine, alone and in a crowd, and their log-probs
 * recomputed by a pass over whole sequences, with and without `deterministic`, in f16 and f32. Bundled and run as the
 * checks of the kernels are (packages/backends/src/ops/matmul/f16.gpu-check.ts).
 */
import { generationSchema, SequenceSample } from '@realhf/api';
import { NetworkEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { ReaLModel } from '@realhf/model';

import { shapes } from '../bench-model/shapes.js';

let failures = 0;
for (const [matmulPrecision, deterministic, fusedDecode = false] of [
  ['f32', false],
  ['f16', true],
  ['f16', false],
  ['f16', false, true],
] as const) {
  const gpu = await openGpu();
  const { device, adapterName: adapter, isCpu, info: adapterInfo } = gpu;
  const kind = { device, adapter, isCpu, adapterInfo };
  const ops = new WebGpuOps({ ...kind, matmulPrecision, deterministic, fusedDecode });
  const config = { ...shapes['1b']!, nLayers: 2, vocabSize: 4000, maxPositions: 512 };
  const model = new ReaLModel({ ops, config });
  model.init(1);
  const engine = new NetworkEngine(model);
  const lengths = [5, 130, 17, 64, 1, 33, 200, 90, 12, 7, 55, 41];
  const prompts = lengths.map((n, i) =>
    Int32Array.from({ length: n }, (_, t) => (i * 31 + t * 7) % 4000),
  );
  const gconfig = generationSchema.parse({
    max_new_tokens: 48,
    min_new_tokens: 48,
    top_p: 0.9,
    top_k: 50,
  });
  const generate = (which: readonly number[]) =>
    engine.generate(
      SequenceSample.fromDefault({
        ids: which.map(String),
        seqlens: which.map((i) => lengths[i]!),
        data: { packed_prompts: Int32Array.from(which.flatMap((i) => [...prompts[i]!])) },
      }),
      gconfig,
      { eosTokenId: null, padTokenId: null, seed: 5 },
    );
  const crowd = await generate(lengths.map((_, i) => i));
  const few = await generate([3, 6]);
  const same = [3, 6].every(
    (i, k) =>
      few.tokens[k]!.every((t, j) => t === crowd.tokens[i]![j]) &&
      few.logProbs[k]!.every((p, j) => p === crowd.logProbs[i]![j]),
  );
  // Recomputed without the kept sets: of a sequence's own tokens under the whole vocabulary, twice, in two batches.
  const whole = (which: readonly number[]) =>
    engine.logProbs(
      SequenceSample.fromDefault({
        ids: which.map(String),
        seqlens: which.map((i) => lengths[i]! + 48),
        data: {
          packed_input_ids: Int32Array.from(
            which.flatMap((i) => [...prompts[i]!, ...crowd.tokens[i]!]),
          ),
        },
      }),
    );
  const plain = await engine.generate(
    SequenceSample.fromDefault({
      ids: ['6'],
      seqlens: [lengths[6]!],
      data: { packed_prompts: prompts[6]! },
    }),
    generationSchema.parse({ max_new_tokens: 48, min_new_tokens: 0, top_p: 1, top_k: 4000 }),
    { eosTokenId: null, padTokenId: null, seed: 9 },
  );
  const recomputed = await engine.logProbs(
    SequenceSample.fromDefault({
      ids: ['6'],
      seqlens: [lengths[6]! + 48],
      data: { packed_input_ids: Int32Array.from([...prompts[6]!, ...plain.tokens[0]!]) },
    }),
  );
  let worst = 0;
  plain.logProbs[0]!.forEach((p, j) => {
    worst = Math.max(worst, Math.abs(p - recomputed[lengths[6]! - 1 + j]!));
  });
  const [a, b] = [await whole([3]), (await whole([0, 3])).subarray(lengths[0]! + 47)];
  const alone = a.every((p, j) => p === b[j]);
  const must = matmulPrecision === 'f32' || deterministic;
  if (!same || !alone || (must && worst > 0)) failures += 1;
  console.log(
    `${matmulPrecision}${deterministic ? ' deterministic' : ''}${fusedDecode ? ' fused' : ''}: sampled alone = in a crowd ${same}, recomputed alone = in a batch ${alone}, |sampled − recomputed| ≤ ${worst.toExponential(1)}`,
  );
  ops.destroy();
}
console.log(failures === 0 ? 'all right' : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
