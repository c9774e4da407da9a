/**
 * Any (dp, tp, pp) layout against one rank: loss, gradient norm, full gradient and greedy tokens of a small model of
 * eight blocks, for several numbers of microbatches. Ranks are loopback ranks on one device.
 */
import type { ModelConfig, Parallelism, SequenceSample, Stats } from '@realhf/api';
import { AdamEngine, type WebGpuOps } from '@realhf/backends';
import type { ReaLModel } from '@realhf/model';
import { expect } from 'vitest';

import { adamConfig, expectTensorsClose, gpt2, llama, makeRanks, tokensSample } from './harness.js';
import { mixtral } from './moe-suite.js';
import { likelihood, release } from './parallel-suite.js';

/** `d2m2p1` and, with sequence parallelism, `d2m2p1s`. */
export function layoutOf(name: string): Parallelism {
  const [, d, m, p, s] = /^d(\d)m(\d)p(\d)(s?)$/.exec(name)!;
  return {
    dataParallelSize: Number(d),
    tensorParallelSize: Number(m),
    pipelineParallelSize: Number(p),
    useSequenceParallel: s === 's',
  };
}

/** All layouts of at most eight ranks. */
export const allLayouts: readonly string[] = Array.from({ length: 512 }, (_, i) => i).flatMap(
  (i) => {
    const [d, m, p] = [(i >> 6) + 1, ((i >> 3) & 7) + 1, (i & 7) + 1];
    return d * m * p <= 8 ? [`d${d}m${m}p${p}`] : [];
  },
);

/** Heads that `tp` divides; fewer kv heads than ranks where that is possible. */
function shape(tp: number): Partial<ModelConfig> {
  const nHeads = 8 % tp === 0 ? 8 : 6 % tp === 0 ? 6 : tp;
  const nKvHeads = nHeads === 8 ? 2 : nHeads === 6 ? 3 : 1;
  return { nLayers: 8, nHeads, nKvHeads, headDim: 4, intermediateDim: 8 * nHeads };
}
export const gridConfigs: Readonly<Record<string, (tp: number) => ModelConfig>> = {
  llama: (tp) => llama({ ...shape(tp), hiddenDim: 16, vocabSize: 64, attentionScale: 0.5 }),
  /** An odd vocabulary, tied to the embedding, which the first and the last stage hold. */
  gpt2: (tp) =>
    gpt2({
      ...shape(tp),
      nKvHeads: shape(tp).nHeads!,
      hiddenDim: 16,
      vocabSize: 61,
      attentionScale: 0.5,
    }),
  /** Without losses of the router, which are of a microbatch's tokens and so differ with their number. */
  mixtral: (tp) =>
    mixtral(
      { auxLossCoeff: 0, zLossCoeff: 0 },
      { ...shape(tp), hiddenDim: 16, vocabSize: 64, attentionScale: 0.5 },
    ),
};

/** Reports of the router are means over microbatches. */
const ofMicrobatches = /moe|aux|z_loss/;

const lengths = [7, 5, 9, 4, 8, 3, 6, 5, 10];
const promptLengths = [3, 5, 2, 4, 6, 3, 2, 5, 4];

/** Parts of data-parallel ranks for each of the ranks. */
export function partsOf(ranks: readonly ReaLModel[], sample: SequenceSample): SequenceSample[] {
  return ranks.map(({ groups }) => {
    const dp = groups.dp?.size ?? 1;
    const cut = (i: number) => Math.floor((i * sample.bs) / dp);
    return sample.slice(cut(groups.coordinates.dp), cut(groups.coordinates.dp + 1));
  });
}

/** The full gradient from the shares of all ranks; where several hold an element, their values must be the same bits. */
export async function wholeGradients(
  engines: readonly AdamEngine[],
): Promise<Map<string, Float32Array>> {
  const { specs } = engines[0]!.network;
  const out = new Map(specs.map((s) => [s.name, new Float32Array(s.size).fill(NaN)]));
  const offsets = new Map(specs.map((s) => [s.name, s.offset]));
  for (const { network, stateMaps } of engines) {
    const { intervals, segmentSizes } = stateMaps.moments;
    const first = network.groups.coordinates.dp;
    const segments = await Promise.all(
      network.gradients().map((g, i) => {
        const size = segmentSizes[i]!;
        return network.ops.read(g, first * size, size);
      }),
    );
    for (const i of intervals) {
      const whole = out.get(i.param)!;
      for (let k = 0; k < i.length; k++) {
        const at = i.global - offsets.get(i.param)! + k;
        const value = segments[i.segment]![i.local + k]!;
        if (!Number.isNaN(whole[at]!) && whole[at] !== value)
          throw new Error(`${i.param}[${at}]: ranks hold ${whole[at]!} and ${value}`);
        whole[at] = value;
      }
    }
  }
  return out;
}

interface Learned {
  readonly stats: readonly Stats[];
  readonly gradients: Map<string, Float32Array>;
}

async function learn(
  ranks: readonly ReaLModel[],
  engines: readonly AdamEngine[],
  nMbs: number,
): Promise<Learned> {
  const samples = partsOf(ranks, tokensSample(ranks[0]!.config, lengths));
  const stats = await Promise.all(
    engines.map((e, r) => e.trainBatch(samples[r]!, likelihood, { versionSteps: 0, nMbs })),
  );
  return { stats, gradients: await wholeGradients(engines) };
}

/** Greedy tokens of all prompts, which are split over data-parallel ranks. */
async function greedyTokens(
  ranks: readonly ReaLModel[],
  engines: readonly AdamEngine[],
  nMbs: number,
): Promise<Int32Array[]> {
  const { config } = ranks[0]!;
  const prompts = partsOf(
    ranks,
    tokensSample(config, promptLengths, 6).remapKeys({ packed_input_ids: 'packed_prompts' }),
  );
  const outs = await Promise.all(
    engines.map((e, r) =>
      e.generate(
        prompts[r]!,
        {
          max_new_tokens: 6,
          min_new_tokens: 0,
          greedy: true,
          top_p: 1,
          top_k: config.vocabSize,
          temperature: 1,
          force_no_logits_mask: true,
        },
        { eosTokenId: 1, padTokenId: null, seed: 1, nMbs },
      ),
    ),
  );
  const byPart: Int32Array[][] = [];
  ranks.forEach((rank, r) => {
    // Every rank of a model replica gives the same.
    const part = (byPart[rank.groups.coordinates.dp] ??= [...outs[r]!.tokens]);
    expect(outs[r]!.tokens).toEqual(part);
  });
  return byPart.flat();
}

interface Reference extends Learned {
  readonly tokens: readonly Int32Array[];
}

const enginesOf = (ranks: readonly ReaLModel[]) =>
  ranks.map((r) => new AdamEngine(r, { optimizer: adamConfig({ type: 'empty' }), totalSteps: 4 }));

const references = new Map<string, Reference>();

async function reference(ops: WebGpuOps, family: string, config: ModelConfig): Promise<Reference> {
  const key = `${family} ${config.nHeads}`;
  let known = references.get(key);
  if (!known) {
    const ranks = makeRanks(ops, config);
    const engines = enginesOf(ranks);
    known = { ...(await learn(ranks, engines, 1)), tokens: await greedyTokens(ranks, engines, 1) };
    for (const e of engines) e.free();
    release(...ranks);
    references.set(key, known);
  }
  return known;
}

/** Throws where a layout differs from one rank by more than 1e-5, or in a token. */
export async function checkLayout(
  ops: WebGpuOps,
  family: string,
  name: string,
  microbatches: readonly number[],
): Promise<void> {
  const layout = layoutOf(name);
  const config = gridConfigs[family]!(layout.tensorParallelSize);
  const want = await reference(ops, family, config);
  const ranks = makeRanks(ops, config, layout);
  const engines = enginesOf(ranks);
  for (const nMbs of microbatches) {
    const got = await learn(ranks, engines, nMbs);
    for (const stats of got.stats)
      for (const [k, v] of Object.entries(want.stats[0]!).filter(([k]) => !ofMicrobatches.test(k)))
        expect(Math.abs(stats[k]! - v), `${k} with ${nMbs}`).toBeLessThan(1e-5 * Math.max(1, v));
    expectTensorsClose(got.gradients, want.gradients, 1e-5);
  }
  expect(await greedyTokens(ranks, engines, microbatches.at(-1)!)).toEqual(want.tokens);
  for (const e of engines) e.free();
  release(...ranks);
}
