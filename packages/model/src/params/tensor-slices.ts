/**
 * The tensor-parallel rule: which rows and columns of each parameter one tp rank holds (Megatron: Shoeybi et
 * al. 2019). Column-parallel weights (qkv, gate_up, fc, head, wte) are cut by rows of [out, in], row-parallel
 * ones (o, down) by columns; the rest is replicated. When tp does not divide the kv heads, a rank holds those
 * that its q heads read, so that several ranks hold the same kv head (and its gradient is their sum).
 */
import { ConfigError, type ModelConfig, type ParamSpec } from '@realhf/api';

/** One of `size` ranks. */
export interface Part {
  readonly rank: number;
  readonly size: number;
}
/** begin ≤ i < end. */
export type Range = readonly [begin: number, end: number];

/** Rows and columns of a parameter seen as [rows, columns]; a vector is [n, 1]. Row ranges ascend. */
export interface ParamSlice {
  readonly rows: readonly Range[];
  readonly columns: Range;
  /** Local shape, of the same rank as the parameter's. A vocabulary that the ranks don't divide has padding rows at its end. */
  readonly shape: readonly number[];
}

/** Throws ConfigError if `rank` is not one of `size` ranks. */
export function checkPart(what: string, { rank, size }: Part): void {
  if (!Number.isInteger(size) || size < 1 || !Number.isInteger(rank) || rank < 0 || rank >= size)
    throw new ConfigError(`${what} rank ${rank} of ${size} does not exist; ranks are 0 … size − 1`);
}

/** Throws ConfigError, the same on every rank, if the model can't be cut over `size` tp ranks. */
export function checkTensorParallel(config: ModelConfig, size: number): void {
  const need = (what: string, n: number) => {
    if (n % size !== 0)
      throw new ConfigError(
        `tensor parallel size ${size} does not divide ${what} = ${n}; choose a divisor of it`,
      );
  };
  need('nHeads', config.nHeads);
  need('intermediateDim', config.intermediateDim);
  // Pieces of the vocabulary are equal: the last one is padded, and none may be all padding.
  if ((size - 1) * Math.ceil(config.vocabSize / size) >= config.vocabSize)
    throw new ConfigError(
      `tensor parallel size ${size} leaves a rank without any of the ${config.vocabSize} tokens of the vocabulary; choose a smaller one`,
    );
  if (config.nHeads % config.nKvHeads !== 0)
    throw new ConfigError(
      `nKvHeads ${config.nKvHeads} does not divide nHeads ${config.nHeads}; every kv head serves equally many q heads`,
    );
  const perRank = config.nHeads / size;
  const group = config.nHeads / config.nKvHeads;
  if (perRank % group !== 0 && group % perRank !== 0)
    throw new ConfigError(
      `tensor parallel size ${size} gives ranks ${perRank} q heads each, which straddle the groups of ${group} that share a kv head; choose a size that divides nKvHeads ${config.nKvHeads} or is a multiple of it`,
    );
}

/** The q and kv heads of one rank. Local q head i reads local kv head ⌊i · kv / q⌋. Throws ConfigError. */
export function headsOf(config: ModelConfig, tp: Part): { q: Range; kv: Range } {
  checkPart('tensor parallel', tp);
  checkTensorParallel(config, tp.size);
  const perRank = config.nHeads / tp.size;
  const first = tp.rank * perRank;
  const group = config.nHeads / config.nKvHeads;
  return {
    q: [first, first + perRank],
    kv: [Math.floor(first / group), Math.floor((first + perRank - 1) / group) + 1],
  };
}

const scale = ([a, b]: Range, by: number, shift = 0): Range => [a * by + shift, b * by + shift];
const cut = (n: number, { rank, size }: Part, shift = 0): Range =>
  scale([rank, rank + 1], n / size, shift);

/** What one tp rank holds of a parameter. Throws ConfigError if the model can't be cut so. */
export function shardRule(config: ModelConfig, spec: ParamSpec, tp: Part): ParamSlice {
  const heads = headsOf(config, tp);
  const { headDim: d, intermediateDim: inter } = config;
  const height = spec.shape[0]!;
  const width = spec.shape[1] ?? 1;
  let rows: Range[] = [[0, height]];
  let columns: Range = [0, width];
  let padded = 0;
  const cutVocabulary = () => {
    padded = Math.ceil(height / tp.size);
    const begin = tp.rank * padded;
    rows = [[begin, Math.min(begin + padded, height)]];
  };

  const name = spec.name.slice(spec.name.indexOf('.') + 1);
  switch (name) {
    case 'attn.qkv.weight':
    case 'attn.qkv.bias':
    case 'attn.qkv.lora_b': {
      const k = config.nHeads * d;
      const v = k + config.nKvHeads * d;
      rows = [scale(heads.q, d), scale(heads.kv, d, k), scale(heads.kv, d, v)];
      break;
    }
    case 'attn.o.weight':
    case 'attn.o.lora_a':
      columns = scale(heads.q, d);
      break;
    case 'mlp.gate_up.weight':
    case 'mlp.gate_up.bias':
    case 'mlp.gate_up.lora_b':
      rows = [cut(inter, tp), cut(inter, tp, inter)];
      break;
    case 'mlp.fc.weight':
    case 'mlp.fc.bias':
    case 'mlp.fc.lora_b':
      rows = [cut(height, tp)];
      break;
    case 'wte.weight':
      cutVocabulary();
      break;
    case 'head.weight':
      if (!config.isCritic) cutVocabulary();
      break;
    case 'mlp.experts_gate_up.weight':
      rows = Array.from({ length: height / inter }, (_, part) => cut(inter, tp, part * inter));
      break;
    case 'mlp.down.weight':
    case 'mlp.down.lora_a':
    case 'mlp.experts_down.weight':
      columns = cut(inter, tp);
      break;
  }
  const n = Math.max(
    padded,
    rows.reduce((sum, [a, b]) => sum + b - a, 0),
  );
  return { rows, columns, shape: spec.shape.length === 1 ? [n] : [n, columns[1] - columns[0]] };
}
