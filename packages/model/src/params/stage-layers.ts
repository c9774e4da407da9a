/** Pipeline stages: contiguous runs of the L + 2 layers whose largest stage has the fewest parameters (reference: 2.6). */
import { ConfigError, type ModelConfig } from '@realhf/api';
import { paramSpecs } from './specs.js';
import type { Range } from './tensor-slices.js';

/** Layers of each of `size` stages; 0 = embeddings, L + 1 = final norm and head. Throws ConfigError if there are too few. */
export function stageLayers(config: ModelConfig, size: number): Range[] {
  const layers = config.nLayers + 2;
  if (size > layers)
    throw new ConfigError(
      `pipeline parallel size ${size} exceeds the ${layers} layers (embeddings, ${config.nLayers} blocks, head); choose a smaller one`,
    );
  const counts = new Array<number>(layers).fill(0);
  for (const s of paramSpecs(config)) counts[s.layer]! += s.size;
  return minimax(counts, size);
}

/** Exact, by dynamic programming; every run has at least one entry. */
function minimax(counts: readonly number[], k: number): Range[] {
  const n = counts.length;
  const sum = [0];
  for (const c of counts) sum.push(sum.at(-1)! + c);
  // best[j][i]: the largest run when the first i entries make j runs; from[j][i]: where the last of them begins.
  const best = Array.from({ length: k + 1 }, () => new Array<number>(n + 1).fill(Infinity));
  const from = Array.from({ length: k + 1 }, () => new Array<number>(n + 1).fill(0));
  best[0]![0] = 0;
  for (let j = 1; j <= k; j++)
    for (let i = j; i <= n; i++)
      for (let b = j - 1; b < i; b++) {
        const largest = Math.max(best[j - 1]![b]!, sum[i]! - sum[b]!);
        if (largest < best[j]![i]!) {
          best[j]![i] = largest;
          from[j]![i] = b;
        }
      }
  const runs: Range[] = [];
  for (let j = k, end = n; j > 0; j--) {
    const begin = from[j]![end]!;
    runs.unshift([begin, end]);
    end = begin;
  }
  return runs;
}
