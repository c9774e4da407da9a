/** Which rows an actor head computes, what their labels are, and where their results go. Integers only. */
import type { PackedBatch } from '@realhf/api';

import { keptBits } from '../generation/kept-sets.js';

export interface VocabRows {
  /** u32: token rows t whose next token is scored. */
  readonly rows: Uint32Array;
  /** Shifted entry (of Σ(L−1)) of each row. */
  readonly entries: Uint32Array;
  /** Next token of each row. */
  readonly labels: Int32Array;
  /** Σ(L−1). */
  readonly shifted: number;
}

export function vocabRows(batch: PackedBatch, needed?: Uint8Array): VocabRows {
  const { tokens, cuSeqlens } = batch;
  const rows: number[] = [];
  const entries: number[] = [];
  const labels: number[] = [];
  let entry = 0;
  for (let s = 0; s + 1 < cuSeqlens.length; s++) {
    for (let t = cuSeqlens[s]!; t < cuSeqlens[s + 1]! - 1; t++, entry++) {
      if (needed?.[entry] === 0) continue;
      rows.push(t);
      entries.push(entry);
      labels.push(tokens[t + 1]!);
    }
  }
  return {
    rows: Uint32Array.from(rows),
    entries: Uint32Array.from(entries),
    labels: Int32Array.from(labels),
    shifted: entry,
  };
}

/** Labels in a vocabulary shard: the local row, −1 where another rank has it. */
export function localLabels(
  labels: Int32Array,
  vocabOffset: number,
  vocabLocal: number,
): Int32Array {
  return labels.map((l) =>
    l >= vocabOffset && l < vocabOffset + vocabLocal ? l - vocabOffset : -1,
  );
}

/** Bits of the tokens that a piece of the vocabulary keeps of these rows' distributions; those of padding are 0. */
export function maskRows(
  kept: { readonly bytes: Uint8Array; readonly offsets: Uint32Array },
  rows: Uint32Array,
  vocab: number,
  vocabOffset: number,
  vocabLocal: number,
): Uint32Array {
  const words = Math.ceil(vocabLocal / 32);
  const range = { begin: vocabOffset, end: vocabOffset + vocabLocal, vocab };
  const out = new Uint32Array(rows.length * words);
  rows.forEach((t, i) => {
    keptBits(kept.bytes, kept.offsets[t]!, range, out, i * words);
  });
  return out;
}

/** Log-prob of a removed token in f32, as Ops.logProbs gives it. */
const lowest = -3.4028234e38;

/** Log-sum-exp, log-prob and entropy over all vocabulary shards from those of each shard. */
export function combineShards(
  parts: readonly {
    logProbs: Float32Array;
    lse: Float32Array;
    entropy: Float32Array;
    labels: Int32Array;
  }[],
): { logProbs: Float32Array; lse: Float32Array; entropy: Float32Array } {
  const n = parts[0]!.lse.length;
  const out = {
    logProbs: new Float32Array(n),
    lse: new Float32Array(n),
    entropy: new Float32Array(n),
  };
  for (let i = 0; i < n; i++) {
    // A shard whose every token the mask removed has no mass, and neither a log-sum-exp nor an entropy.
    const some = parts.filter((p) => p.lse[i]! > -1e38);
    const top = Math.max(...some.map((p) => p.lse[i]!));
    const lse = top + Math.log(some.reduce((s, p) => s + Math.exp(p.lse[i]! - top), 0));
    out.lse[i] = lse;
    const owner = parts.find((p) => p.labels[i]! >= 0);
    // A label that the mask removed has the kernel's −3.4e38, whatever its shard's log-sum-exp.
    if (owner)
      out.logProbs[i] = some.includes(owner)
        ? Math.max(owner.logProbs[i]! + owner.lse[i]! - lse, lowest)
        : lowest;
    // The mean of z/T under the shard's own softmax is lse − H; weighted by the shard's mass it adds up.
    out.entropy[i] =
      lse - some.reduce((s, p) => s + Math.exp(p.lse[i]! - lse) * (p.lse[i]! - p.entropy[i]!), 0);
  }
  return out;
}
