/**
 * `npm run bench:model`: whole-model speed on this adapter: generation, inference log-probs and a train step of a
 * llama of a named shape with made-up weights. `--shape tiny|1b`, `--precision f32|f16`, `--batch 64 --prompt 256
 * --new 256`. The shape 1b is TinyLlama-1.1B's, the one that is also measured with PyTorch.
 */
import { parseArgs } from 'node:util';

import { generationSchema, optimizerSchema, SequenceSample } from '@realhf/api';
import { AdamEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { sftLoss } from '@realhf/model';

import { madeUpModel, shapes } from './shapes.js';

/** What one kind of work took. */
interface ModelTiming {
  readonly name: string;
  readonly seconds: number;
  readonly tokensPerSecond: number;
  readonly tflops: number;
  /** Bytes. */
  readonly peak: number;
}

export async function main(_root: string, args: readonly string[]): Promise<number> {
  await benchModel(args);
  return 0;
}

/** Prints and returns the timings; `args` as on the command line. */
export async function benchModel(args: readonly string[]): Promise<ModelTiming[]> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      shape: { type: 'string', default: 'tiny' },
      batch: { type: 'string', default: '64' },
      prompt: { type: 'string', default: '256' },
      new: { type: 'string', default: '256' },
      'tokens-per-mb': { type: 'string', default: '4096' },
      precision: { type: 'string', default: 'f32' },
      skip: { type: 'string', default: '' },
      deterministic: { type: 'boolean', default: false },
    },
  });

  const config = shapes[values.shape];
  if (!config)
    throw new Error(`--shape ${values.shape}: known are ${Object.keys(shapes).join(', ')}`);
  const gpu = await openGpu();
  const ops = new WebGpuOps({
    device: gpu.device,
    adapter: gpu.adapterName,
    isCpu: gpu.isCpu,
    deterministic: values.deterministic,
    ...(values.precision === 'f16'
      ? { matmulPrecision: 'f16' as const, adapterInfo: gpu.info }
      : {}),
  });
  const [batch, promptLen, newTokens] = [
    Number(values.batch),
    Number(values.prompt),
    Number(values.new),
  ];
  const maxTokensPerMb = Number(values['tokens-per-mb']);

  const model = madeUpModel(ops, config);
  const nParams = model.specs.reduce((n, s) => n + s.size, 0);
  const engine = new AdamEngine(model, { optimizer: optimizerSchema.parse({}), totalSteps: 100 });

  const tokens = (length: number) =>
    Int32Array.from(
      { length: batch * length },
      () => 3 + Math.floor(Math.random() * (config.vocabSize - 3)),
    );
  const ids = Array.from({ length: batch }, (_, i) => `${i}`);
  const prompts = SequenceSample.fromDefault({
    ids,
    seqlens: ids.map(() => promptLen),
    data: { packed_prompts: tokens(promptLen) },
  });
  const length = promptLen + newTokens;
  const full = SequenceSample.fromDefault({
    ids,
    seqlens: ids.map(() => length),
    data: { packed_input_ids: tokens(length), prompt_mask: new Uint8Array(batch * length) },
  });

  console.log(
    `${gpu.adapterName}, ${gpu.driver}; ${values.shape}: ${(nParams / 1e6).toFixed(1)} M parameters, matmul ${ops.recorder.f16Matmul ? 'f16' : 'f32'}, ${batch} × (${promptLen} + ${newTokens}) tokens`,
  );

  const timings: ModelTiming[] = [];
  async function time(
    name: string,
    nTokens: number,
    flops: number,
    repeats: number,
    body: () => Promise<unknown>,
  ): Promise<void> {
    if (values.skip.split(',').includes(name)) return;
    const seconds: number[] = [];
    for (let i = 0; i <= repeats; i++) {
      const t = performance.now();
      await body();
      await ops.sync();
      // The first one compiles and warms the card.
      if (i > 0) seconds.push((performance.now() - t) / 1000);
    }
    const s = seconds.sort((a, b) => a - b)[Math.floor(seconds.length / 2)]!;
    const { peak } = ops.memory();
    timings.push({
      name,
      seconds: s,
      tokensPerSecond: nTokens / s,
      tflops: flops / s / 1e12,
      peak,
    });
    console.log(
      `${name.padEnd(10)} ${s.toFixed(3)} s  ${Math.round(nTokens / s)} tokens/s  ${(flops / s / 1e12).toFixed(2)} TFLOP/s  peak ${(peak / 2 ** 30).toFixed(1)} GiB`,
    );
  }

  const g = generationSchema.parse({
    max_new_tokens: newTokens,
    min_new_tokens: newTokens,
    top_p: 1,
    top_k: config.vocabSize,
    force_no_logits_mask: true,
  });
  await time('generate', batch * newTokens, 2 * nParams * batch * (promptLen + newTokens), 2, () =>
    engine.generate(prompts, g, { eosTokenId: 2, padTokenId: 0, seed: 1 }),
  );
  await time('inference', batch * length, 2 * nParams * batch * length, 2, () =>
    engine.logProbs(full, { maxTokensPerMb }),
  );
  const few = full.slice(0, Math.max(1, Math.floor(batch / 4)));
  await time('train', few.bs * length, 6 * nParams * few.bs * length, 2, () =>
    engine.trainBatch(few, sftLoss, { versionSteps: 0, maxTokensPerMb }),
  );
  console.log(
    `dispatches ${ops.recorder.counts.dispatches}, submits ${ops.recorder.counts.submits}`,
  );
  ops.destroy();
  return timings;
}
