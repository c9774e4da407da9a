/**
 * Heads on the final hidden states. The actor's never holds [tokens, vocab] unless one chunk is enough: logits of a
 * chunk of rows are reduced to log-prob, log-sum-exp and entropy, and made again in backward when there are more.
 */
import {
  Arena,
  type ForwardOptions,
  type ForwardOutput,
  type HeadGrad,
  type PackedBatch,
  type Tensor,
} from '@realhf/api';

import { keptOffsets } from '../generation/kept-sets.js';
import { headName } from './final-norm.js';
import { rowsOf, times, timesTransposed, type RowPieces } from './row-pieces.js';
import { gatherColumns, type Shard } from './shard.js';
import { combineShards, localLabels, maskRows, vocabRows } from './vocab-rows.js';

export interface HeadPass {
  readonly output: ForwardOutput;
  /** dHidden [t, hidden] is overwritten. */
  backward(grad: HeadGrad, dHidden: Tensor): Promise<void>;
}

const align = (n: number) => Math.ceil(n / 64) * 64;

/** Rows of logits per chunk: a multiple of 64 within `bytes`. */
export function chunkRows(rows: number, vocab: number, bytes: number): number {
  return Math.max(64, Math.min(align(rows), Math.floor(bytes / (4 * vocab) / 64) * 64));
}

/** values [t] = hidden · wᵀ. */
export async function criticHead(shard: Shard, arena: Arena, hidden: Tensor): Promise<HeadPass> {
  const { ops } = shard;
  const t = hidden.shape[0]!;
  const w = shard.pieces(headName(shard));
  const values = arena.empty([t, 1]);
  timesTransposed(ops, hidden, w, values);
  return {
    output: { values: await ops.read(values) },
    backward: async ({ dValues }, dHidden) => {
      const dv = arena.fromHost(dValues ?? new Float32Array(t), [t, 1]);
      times(ops, dv, w, dHidden);
      shard.weightGrad(headName(shard), dv, hidden);
      await Promise.resolve();
    },
  };
}

export async function actorHead(
  shard: Shard,
  arena: Arena,
  hidden: Tensor,
  batch: PackedBatch,
  options: ForwardOptions,
  logitsBytes: number,
): Promise<HeadPass> {
  const { ops, config, groups } = shard;
  const w = shard.pieces(headName(shard));
  const { rows: vocabLocal, offset: vocabOffset, valid } = shard.vocabPiece(w);
  const h = config.hiddenDim;
  const { rows, entries, labels, shifted } = vocabRows(batch, options.needed);
  const n = rows.length;
  const output: { logProbs: Float32Array; entropy?: Float32Array; logits?: Float32Array } = {
    logProbs: new Float32Array(shifted),
  };
  if (options.entropy) output.entropy = new Float32Array(shifted);
  if (options.logits) output.logits = await allLogits(shard, hidden, w, logitsBytes);
  if (n === 0) {
    return {
      output,
      backward: (_, dHidden) => {
        ops.fill(dHidden, 0);
        return Promise.resolve();
      },
    };
  }
  const chunk = chunkRows(n, vocabLocal, logitsBytes);
  const padded = align(n);
  const index = arena.fromHost(rows, [n], 'u32');
  const picked = arena.empty([padded, h]);
  ops.gatherRows(hidden, index, ops.view(picked, 0, [n, h]));
  const mine = localLabels(labels, vocabOffset, vocabLocal);
  const labelIds = arena.empty([padded], 'i32');
  ops.write(labelIds, mine);
  const words = Math.ceil(vocabLocal / 32);
  const keptSets = options.mask && {
    bytes: options.mask,
    offsets: keptOffsets(options.mask, batch.tokens.length, config.vocabSize),
    // Bits of one chunk at a time.
    bits: arena.empty([Math.min(chunk, padded), words], 'u32'),
  };
  const maskOf = (begin: number, count: number) => {
    if (!keptSets) return {};
    const part = rows.subarray(begin, begin + count);
    ops.write(keptSets.bits, maskRows(keptSets, part, config.vocabSize, vocabOffset, vocabLocal));
    return { mask: ops.view(keptSets.bits, 0, [count, words]) };
  };
  /** logProbs ‖ lse ‖ entropy. */
  const scores = arena.empty([3, padded]);
  const part = (k: number, begin: number, count: number) =>
    ops.view(scores, k * padded + begin, [count]);
  const wantEntropy = options.entropy === true || groups.tpSize > 1;
  const temperature = options.temperature ?? 1;
  const chunkArgs = (begin: number, count: number, logits: Tensor) => ({
    logits,
    labels: ops.view(labelIds, begin, [count]),
    temperature,
    ...(valid < vocabLocal ? { validVocab: valid } : {}),
    lse: part(1, begin, count),
    ...(wantEntropy ? { entropy: part(2, begin, count) } : {}),
    ...maskOf(begin, count),
  });
  const computeLogits = (begin: number, count: number, logits: Tensor) => {
    timesTransposed(ops, ops.view(picked, begin * h, [count, h]), w, logits);
  };
  const single = n <= chunk;
  const keep = single && options.train;
  const work = new Arena(ops);
  const logitsOf = (count: number) => (keep ? arena : work).empty([count, vocabLocal]);
  let kept: Tensor | undefined;
  for (let begin = 0; begin < n; begin += chunk) {
    const count = Math.min(chunk, n - begin);
    const logits = logitsOf(count);
    computeLogits(begin, count, logits);
    ops.logProbs({ ...chunkArgs(begin, count, logits), logProbs: part(0, begin, count) });
    if (keep) kept = logits;
    else work.release();
  }
  const flat = await ops.read(scores);
  const local = {
    logProbs: flat.subarray(0, n),
    lse: flat.subarray(padded, padded + n),
    entropy: flat.subarray(2 * padded, 2 * padded + n),
    labels: mine,
  };
  const whole =
    groups.tp && groups.tpSize > 1 ? await combine(shard, local, labels, vocabLocal) : local;
  if (groups.tpSize > 1) {
    ops.write(scores, whole.lse, padded);
    ops.write(scores, whole.entropy, 2 * padded);
  }
  entries.forEach((e, i) => {
    output.logProbs[e] = whole.logProbs[i]!;
    if (output.entropy) output.entropy[e] = whole.entropy[i]!;
  });

  const backward = async (grad: HeadGrad, dHidden: Tensor) => {
    const dPicked = arena.empty([padded, h]);
    const pick = (g: Float32Array | undefined) => {
      if (!g) return undefined;
      const t = arena.empty([padded]);
      ops.write(
        t,
        Float32Array.from(entries, (e) => g[e]!),
      );
      return t;
    };
    const dLogProbs = pick(grad.dLogProbs ?? new Float32Array(shifted))!;
    const dEntropy = pick(grad.dEntropy);
    for (let begin = 0; begin < n; begin += chunk) {
      const count = Math.min(chunk, n - begin);
      const logits = kept ?? work.empty([count, vocabLocal]);
      if (!kept) computeLogits(begin, count, logits);
      ops.logProbsBackward({
        ...chunkArgs(begin, count, logits),
        dLogProbs: ops.view(dLogProbs, begin, [count]),
        ...(dEntropy ? { dEntropy: ops.view(dEntropy, begin, [count]) } : {}),
        dLogits: logits,
      });
      const x = ops.view(picked, begin * h, [count, h]);
      times(ops, logits, w, ops.view(dPicked, begin * h, [count, h]));
      shard.weightGrad(headName(shard), logits, x);
      work.release();
    }
    const dRows = ops.view(dPicked, 0, [n, h]);
    await shard.allReduce(dRows);
    ops.fill(dHidden, 0);
    ops.scatterRows({
      src: { tensor: dPicked, offset: 0, stride: h },
      index,
      rows: n,
      columns: h,
      dst: dHidden,
    });
  };
  return { output, backward };
}

async function combine(
  shard: Shard,
  local: { logProbs: Float32Array; lse: Float32Array; entropy: Float32Array },
  labels: Int32Array,
  vocabLocal: number,
) {
  const comm = shard.groups.tp!;
  const n = labels.length;
  const mine = new Float32Array(3 * n);
  mine.set(local.logProbs, 0);
  mine.set(local.lse, n);
  mine.set(local.entropy, 2 * n);
  const all = new Float32Array(3 * n * comm.size);
  await comm.allGather(mine, all);
  return combineShards(
    Array.from({ length: comm.size }, (_, r) => ({
      logProbs: all.subarray(3 * n * r, 3 * n * r + n),
      lse: all.subarray(3 * n * r + n, 3 * n * r + 2 * n),
      entropy: all.subarray(3 * n * r + 2 * n, 3 * n * (r + 1)),
      labels: localLabels(labels, r * vocabLocal, vocabLocal),
    })),
  );
}

/** The full logits [rows of hidden, vocab] on the host; gathered over tensor-parallel ranks. */
export async function allLogits(
  shard: Shard,
  hidden: Tensor,
  w: RowPieces,
  logitsBytes: number,
): Promise<Float32Array> {
  const { ops, groups } = shard;
  const [t, h] = [hidden.shape[0]!, hidden.shape[1]!];
  const vocabLocal = rowsOf(w);
  const chunk = chunkRows(t, vocabLocal, logitsBytes);
  const local = new Float32Array(t * vocabLocal);
  for (let begin = 0; begin < t; begin += chunk) {
    const count = Math.min(chunk, t - begin);
    const logits = ops.empty([count, vocabLocal]);
    timesTransposed(ops, ops.view(hidden, begin * h, [count, h]), w, logits);
    local.set(await ops.read(logits), begin * vocabLocal);
    ops.free(logits);
  }
  if (!groups.tp || groups.tpSize === 1) return local;
  return gatherColumns(groups.tp, local, t, shard.config.vocabSize);
}
