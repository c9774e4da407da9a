/** What is asked of a GenerationEngine and what comes back. */
import {
  DataError,
  normalizeGeneration,
  sampleOptionWords,
  type GenerationHyperparameters,
} from '@realhf/api';

/** One prompt and how to go on from it. */
export interface GenerationRequest {
  /** Token ids, at least one. */
  readonly prompt: Int32Array;
  readonly gconfig: GenerationHyperparameters;
  /** u32: decides the draws, whatever else is generated at the same time. */
  readonly seed: number;
  /** Ids that end the sequence and count as its last token (EOS and the like), at most 8. min_new_tokens keeps them out. */
  readonly stopIds?: readonly number[];
  /**
   * Texts that end the sequence, for an engine with a tokenizer. The token that completes one is the last token of the
   * sequence; text is cut before it.
   */
  readonly stopStrings?: readonly string[];
  /** Report which tokens the filters kept (see kept-sets.ts). Default false. */
  readonly recordKept?: boolean;
  /** Ends the sequence early and frees its memory. */
  readonly signal?: AbortSignal;
}

/** Why a sequence ended: EOS or a stop token, its length, or its caller. */
export type FinishReason = 'stop' | 'length' | 'cancelled';

/** New tokens of one sequence. */
export interface TokenEvent {
  readonly tokens: Int32Array;
  /** Under the distribution that was drawn from, filters and temperature included. */
  readonly logProbs: Float32Array;
  /** Records of kept-sets.ts, one per token. */
  readonly kept?: readonly Uint8Array[];
  /** New text, for an engine with a tokenizer; what may yet become a stop string or half a character comes later. */
  readonly text?: string;
  /** With the last event. */
  readonly finish?: FinishReason;
}

/** One answer. */
export interface GeneratedSequence {
  readonly tokens: Int32Array;
  readonly logProbs: Float32Array;
  readonly kept?: readonly Uint8Array[];
  readonly text?: string;
  readonly finish: FinishReason;
}

/** True where the options can take tokens away that the caller may want to know of. */
export function filters(
  gconfig: GenerationHyperparameters,
  stopIds: readonly number[],
  vocabSize: number,
): boolean {
  const g = normalizeGeneration(gconfig);
  if (g.greedy) return false;
  return g.top_p < 1 || g.top_k < vocabSize || (g.min_new_tokens > 0 && stopIds.length > 0);
}

/** Throws DataError where a prompt cannot be answered. */
export function checkRequest(
  { prompt, gconfig, stopIds = [] }: GenerationRequest,
  model: { readonly maxPositions: number; readonly vocabSize: number },
  name = 'the prompt',
): void {
  const n = prompt.length;
  if (n === 0) throw new DataError(`${name} is empty; generation needs at least one token`);
  if (n + gconfig.max_new_tokens > model.maxPositions)
    throw new DataError(
      `${name} has ${n} tokens and max_new_tokens is ${gconfig.max_new_tokens}: together more than the model's context of ${model.maxPositions}`,
    );
  const bad = prompt.find((t) => !(t >= 0 && t < model.vocabSize));
  if (bad !== undefined)
    throw new DataError(
      `${name} has token id ${bad}, outside the vocabulary of ${model.vocabSize}`,
    );
  if (stopIds.length > 8)
    throw new DataError(`${stopIds.length} stop ids are asked for; at most 8 are possible`);
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
const bitsOf = (x: number) => {
  float[0] = x;
  return bits[0]!;
};

/** A row of Ops.sampleRows' options. */
export function sampleOptions(
  { gconfig, seed, stopIds = [] }: GenerationRequest,
  vocabSize: number,
): Uint32Array {
  const g = normalizeGeneration(gconfig);
  const out = new Uint32Array(sampleOptionWords);
  const filter = !g.greedy && (g.top_p < 1 || g.top_k < vocabSize);
  out.set([
    seed,
    bitsOf(g.greedy ? 1 : 1 / g.temperature),
    bitsOf(g.top_p),
    bitsOf(g.top_k),
    (g.greedy ? 1 : 0) + (filter ? 2 : 0),
    g.min_new_tokens,
    g.max_new_tokens,
    stopIds.length,
    ...stopIds,
  ]);
  return out;
}
