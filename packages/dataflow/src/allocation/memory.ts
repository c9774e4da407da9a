/**
 * Device memory of a plan, rank by rank: an estimate for planning, in bytes. A rank holds what stays (parameters that
 * live there, gradients and optimizer of trained ones) and, while a call runs, what the call needs.
 */
import { modelKey, type MFCDef, type ModelConfig, type Parallelism } from '@realhf/api';
import { layerSizes, stageSizes } from './model-size.js';
import type { Placement, ResolvedPlan } from './placement.js';

/** Lengths in tokens per sequence; `sequences` per item (2 per pair, the size of a group). */
export interface Workload {
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly sequences?: number;
}

/** Models and workload whose memory is estimated. */
export interface MemoryOptions {
  /** By role. */
  readonly configs: Readonly<Record<string, ModelConfig>>;
  readonly workload: Workload;
  /** Bytes of a parameter, gradient or activation. Default 4. */
  readonly elementBytes?: number;
  /** Optimizer state, bytes per parameter. Default 8 (Adam's moments in f32). */
  readonly optimizerBytes?: number;
  /** Rounded copies of weights that matmuls read, bytes per parameter of every model in use. Default 0; 4 under f16 matmuls. */
  readonly roundedBytes?: number;
  /** The optimizer state is split over data-parallel ranks. Default false. */
  readonly zero1?: boolean;
  /** Parts that a train_step cuts its batch into one after another, by MFC. Default 1. */
  readonly minibatches?: Readonly<Record<string, number>>;
  /** Parameters of an adapter, by role: they alone are trained, and moved. */
  readonly adapters?: Readonly<Record<string, number>>;
  /** Roles trained without recomputing activations. */
  readonly keepActivations?: readonly string[];
}

/** Bytes of one rank. */
export interface MemoryUse {
  readonly parameters: number;
  readonly gradients: number;
  readonly optimizer: number;
  readonly activations: number;
  readonly kvCache: number;
}

const nothing: MemoryUse = {
  parameters: 0,
  gradients: 0,
  optimizer: 0,
  activations: 0,
  kvCache: 0,
};

/** Bytes of all kinds. */
export const totalMemory = (m: MemoryUse): number =>
  m.parameters + m.gradients + m.optimizer + m.activations + m.kvCache;
const add = (a: MemoryUse, b: MemoryUse): MemoryUse => ({
  parameters: a.parameters + b.parameters,
  gradients: a.gradients + b.gradients,
  optimizer: a.optimizer + b.optimizer,
  activations: a.activations + b.activations,
  kvCache: a.kvCache + b.kvCache,
});

/** Rows of logits are made in pieces of about so many elements. */
const logitElements = 2 ** 24;

/** What stays on a rank of a model between calls; `adapter`: parameters of the one that is trained instead of the model. */
export function residentMemory(
  config: ModelConfig,
  parallel: Parallelism,
  trained: boolean,
  options: Pick<MemoryOptions, 'elementBytes' | 'optimizerBytes' | 'roundedBytes' | 'zero1'>,
  adapter?: number,
): MemoryUse {
  const { elementBytes = 4, optimizerBytes = 8, roundedBytes = 0, zero1 = false } = options;
  const { parameters } = stageSizes(config, parallel);
  // Untrained models need the copy that forward reads, not that of backward.
  if (!trained) return { ...nothing, parameters: parameters * (elementBytes + roundedBytes / 2) };
  const shares = zero1 ? parallel.dataParallelSize : 1;
  const { tensorParallelSize: tp, pipelineParallelSize: pp } = parallel;
  // About: the outer side of an adapter is cut with its weight, the inner one is whole.
  const own = adapter === undefined ? 0 : Math.ceil(adapter / (tp * pp));
  const learned = adapter === undefined ? parameters : own;
  return {
    ...nothing,
    parameters: parameters * (elementBytes + roundedBytes) + own * elementBytes,
    gradients: learned * elementBytes,
    optimizer: Math.ceil(learned / shares) * optimizerBytes,
  };
}

/** What a call needs beside parameters. */
export function callMemory(
  mfc: MFCDef,
  config: ModelConfig,
  parallel: Parallelism,
  options: MemoryOptions,
): MemoryUse {
  const { elementBytes = 4, workload } = options;
  const { dataParallelSize: dp, tensorParallelSize: tp, pipelineParallelSize: pp } = parallel;
  const { hiddenDim: h, headDim: d } = config;
  const { kv } = layerSizes(config, tp);
  const { blocks } = stageSizes(config, parallel);
  const isTrain = mfc.interfaceType === 'train_step';
  const length = workload.promptTokens + workload.newTokens;
  const items = Math.ceil(mfc.nSeqs / dp / (options.minibatches?.[mfc.name] ?? 1));
  const sequences = items * (workload.sequences ?? 1);
  const perMb = Math.ceil(sequences / ((mfc.nMbs ?? 1) * (pp > 1 ? (isTrain ? 2 * pp : pp) : 1)));
  const tokens = perMb * (mfc.interfaceType === 'generate' ? workload.promptTokens : length);
  // Of one token in one block: input, its norm twice, q k v, attention, MLP.
  const q = Math.ceil(config.nHeads / tp) * d;
  const inner = (config.mlp === 'gated' ? 3 : 2) * Math.ceil(config.intermediateDim / tp);
  const width = 4 * h + 2 * q + kv + inner;
  const logits = config.isCritic
    ? tokens
    : Math.min(tokens * Math.ceil(config.vocabSize / tp), logitElements);
  let activations = tokens * width + logits;
  if (isTrain) {
    const keeps = options.keepActivations?.includes(mfc.model.role) === true;
    // A stage has up to pp microbatches on their way, and one block's activations and their gradients.
    const inFlight = Math.min(pp, (mfc.nMbs ?? 1) * 2 * pp);
    activations =
      inFlight * blocks * tokens * (keeps ? width : h) + 2 * tokens * width + 2 * logits;
  }
  const cached = mfc.interfaceType === 'generate' ? sequences * length * blocks * kv : 0;
  return {
    ...nothing,
    activations: activations * elementBytes,
    kvCache: cached * elementBytes,
  };
}

/** Memory of one rank. */
export interface RankMemory {
  readonly resident: MemoryUse;
  /** While each MFC of the rank runs, the resident part included. */
  readonly during: Readonly<Record<string, MemoryUse>>;
  /** Bytes: the largest of `during`. */
  readonly peak: number;
}

/** By global rank. Roles without a config count nothing. */
export function planMemory(
  { mfcs, placements }: ResolvedPlan,
  options: MemoryOptions,
): Map<number, RankMemory> {
  const trained = new Set(
    mfcs.flatMap((m) => (m.interfaceType === 'train_step' ? [modelKey(m.model)] : [])),
  );
  const of = (p: Placement) => mfcs.filter((m) => modelKey(m.model) === modelKey(p.model));
  const offloaded = (p: Placement) =>
    of(p).some((m) => m.postHooks?.some((h) => h.type === 'offload') === true);
  const ranks = [...new Set(placements.flatMap((p) => p.ranks))].sort((a, b) => a - b);
  return new Map(
    ranks.map((rank) => {
      const here = placements.filter(
        (p) => p.ranks.includes(rank) && options.configs[p.model.role],
      );
      const held = (p: Placement) =>
        residentMemory(
          options.configs[p.model.role]!,
          p.parallel,
          trained.has(modelKey(p.model)),
          options,
          options.adapters?.[p.model.role],
        );
      const stays = (p: Placement) => p.holdsParameters && !offloaded(p);
      const resident = here.filter(stays).map(held).reduce(add, nothing);
      const during: Record<string, MemoryUse> = {};
      for (const p of here)
        for (const m of of(p)) {
          const call = callMemory(m, options.configs[p.model.role]!, p.parallel, options);
          during[m.name] = [call, ...(stays(p) ? [] : [held(p)])].reduce(add, resident);
        }
      const peak = Math.max(...Object.values(during).map(totalMemory), totalMemory(resident));
      return [rank, { resident, during, peak }];
    }),
  );
}
