/**
 * The global gradient norm where ranks hold different parts of the gradient: runs of a rank's segments, each with one
 * over the number of ranks that hold the same values, so that the sum over ranks counts every element once.
 */
import type { Network, Tensor } from '@realhf/api';

import type { Share } from './zero.js';

/** Elements begin ≤ i < end of a segment. */
export interface NormRun {
  readonly segment: number;
  readonly begin: number;
  readonly end: number;
  /** Of their squares this rank counts this part. */
  readonly part: number;
}

/** Runs of a rank whose gradients are complete in `shares` only; neighbours that count alike are one. */
export function normRuns(network: Network, shares: readonly Share[]): NormRun[] {
  const runs: { segment: number; begin: number; end: number; part: number }[] = [];
  for (const next of tensorRuns(network)) {
    const last = runs.at(-1);
    // Between tensors there are zeros.
    if (last?.segment === next.segment && last.part === next.part) last.end = next.end;
    else runs.push({ ...next });
  }
  return runs.flatMap((run) => {
    const share = shares[run.segment]!;
    const begin = Math.max(run.begin, share.begin);
    const end = Math.min(run.end, share.begin + share.length);
    return run.part > 0 && begin < end ? [{ ...run, begin, end }] : [];
  });
}

function tensorRuns(network: Network): NormRun[] {
  const { groups, locals, shardMap } = network;
  const { tpSize, ppSize, coordinates } = groups;
  const held = new Map<string, number>();
  for (const i of shardMap.intervals) held.set(i.param, (held.get(i.param) ?? 0) + i.length);
  return locals.flatMap(({ spec, row, segment, offset, shape }): NormRun[] => {
    const size = shape.reduce((a, b) => a * b, 1);
    const run = (part: number, from = 0, to = size): NormRun => ({
      segment,
      begin: offset + from,
      end: offset + to,
      part,
    });
    if (ppSize > 1 && spec.name === '0.wte.weight') {
      const { tiedEmbedding, isCritic } = network.config;
      // Of a tied embedding the first stage's copy counts.
      if (tiedEmbedding && !isCritic && coordinates.pp > 0) return [run(0)];
    }
    if (tpSize === 1) return [run(1)];
    if (held.get(spec.name) === spec.size) return [run(1 / tpSize)];
    const { nHeads, nKvHeads, headDim } = network.config;
    if (nKvHeads % tpSize === 0 || !/\.attn\.qkv\.(weight|bias|lora_b)$/.test(spec.name))
      return [run(1)];
    // q is this rank's own; k and v are shared where there are fewer kv heads than ranks.
    const rowsOfQ = (nHeads / tpSize) * headDim - row;
    const q = Math.min(size, Math.max(0, rowsOfQ * (shape[1] ?? 1)));
    return [run(1, 0, q), run(nKvHeads / tpSize, q)];
  });
}

/** Σ part · Σ x² of this rank's runs in f64, each run's squares summed on the device. */
export async function weightedSquares(
  network: Network,
  grads: readonly Tensor[],
  runs: readonly NormRun[],
): Promise<number> {
  const { ops } = network;
  if (runs.length === 0) return 0;
  const squares = ops.empty([runs.length]);
  runs.forEach(({ segment, begin, end }, i) => {
    const size = end - begin;
    if (begin % 64 === 0) {
      ops.sumSquares(ops.view(grads[segment]!, begin, [size]), squares, i);
      return;
    }
    // No view can begin there.
    const run = ops.empty([size]);
    ops.copy(grads[segment]!, run, size, begin, 0);
    ops.sumSquares(run, squares, i);
    ops.free(run);
  });
  const each = await ops.read(squares);
  ops.free(squares);
  return runs.reduce((sum, { part }, i) => sum + each[i]! * part, 0);
}
