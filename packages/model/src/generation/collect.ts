/** Logs [steps, rows] of a generation → one array per sequence, cut at the tokens that it really sampled. */
import type { GenerateOutput } from '@realhf/api';

import { stateWidth } from './decode-state.js';
import { encodeKept, joinKept } from './kept-sets.js';

export interface GenerationLogs {
  readonly rows: number;
  readonly state: Int32Array;
  readonly tokens: Int32Array;
  readonly logProbs: Float32Array;
  /** Kept-token bitmasks [steps, rows, ⌈vocab/32⌉]. */
  readonly mask?: Int32Array;
  readonly vocab: number;
}

export function collectOutput(logs: GenerationLogs): GenerateOutput {
  const { rows, state, vocab, mask } = logs;
  const words = Math.ceil(vocab / 32);
  const tokens: Int32Array[] = [];
  const logProbs: Float32Array[] = [];
  const masks: Uint8Array[] = [];
  const noEos: boolean[] = [];
  for (let r = 0; r < rows; r++) {
    // `step` counts the tokens sampled before the sequence finished, EOS included.
    const n = state[r * stateWidth]!;
    noEos.push(state[r * stateWidth + 1] === 0);
    tokens.push(Int32Array.from({ length: n }, (_, s) => logs.tokens[s * rows + r]!));
    logProbs.push(Float32Array.from({ length: n }, (_, s) => logs.logProbs[s * rows + r]!));
    if (mask) {
      const line = (s: number) => mask.subarray((s * rows + r) * words, (s * rows + r + 1) * words);
      masks.push(joinKept(Array.from({ length: n }, (_, s) => encodeKept(line(s), vocab))));
    }
  }
  return { tokens, logProbs, noEos, ...(mask ? { masks } : {}) };
}
