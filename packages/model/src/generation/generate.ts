/**
 * Network.generate on one pipeline stage: all prompts of a call through a GenerationEngine. Attention and sampling use
 * the arithmetic that training uses, so a sampled log-prob equals the recomputed one.
 */
import type {
  GenerateOptions,
  GenerateOutput,
  GenerationHyperparameters,
  PackedBatch,
} from '@realhf/api';

import type { Stage } from '../transformer/stage.js';
import { GenerationEngine } from './generation-engine.js';
import { joinKept } from './kept-sets.js';
import { checkRequest, filters, type GenerationRequest } from './request.js';

/** Defaults of kv_gib and max_running. */
const defaultKvGib = 4;
const defaultRunning = 256;
const pageSize = 16;

export async function generate(
  model: Stage,
  prompts: PackedBatch & { readonly seeds: Uint32Array },
  gconfig: GenerationHyperparameters,
  options: GenerateOptions,
): Promise<GenerateOutput> {
  const { config } = model;
  const { tokens, cuSeqlens, seeds } = prompts;
  const eos = options.eosTokenId;
  const stopIds = [...new Set([...(eos === null ? [] : [eos]), ...(options.stopIds ?? [])])];
  const recordKept = !gconfig.force_no_logits_mask && filters(gconfig, stopIds, config.vocabSize);
  const requests = Array.from({ length: cuSeqlens.length - 1 }, (_, s): GenerationRequest => {
    const prompt = tokens.subarray(cuSeqlens[s], cuSeqlens[s + 1]);
    return { prompt, gconfig, seed: seeds[s]!, stopIds, recordKept };
  });
  const maxSequences = gconfig.max_running ?? defaultRunning;
  const pages = requests
    .map((r, s) => {
      checkRequest(r, config, `prompt ${s}`);
      return Math.ceil((r.prompt.length + gconfig.max_new_tokens) / pageSize);
    })
    .sort((a, b) => b - a)
    .slice(0, maxSequences)
    .reduce((a, b) => a + b, 0);
  const engine = new GenerationEngine(model, {
    pageSize,
    kvBytes: (gconfig.kv_gib ?? defaultKvGib) * 2 ** 30,
    kvTokens: pages * pageSize,
    padTokenId: options.padTokenId ?? eos ?? 0,
    maxSequences,
  });
  try {
    const generations = requests.map((r) => engine.submit(r));
    await engine.run();
    const done = await Promise.all(generations.map((g) => g.result()));
    return {
      tokens: done.map((d) => d.tokens),
      logProbs: done.map((d) => d.logProbs),
      noEos: done.map((d) => d.finish === 'length'),
      ...(recordKept ? { masks: done.map((d) => joinKept(d.kept!)) } : {}),
    };
  } finally {
    engine.free();
  }
}
