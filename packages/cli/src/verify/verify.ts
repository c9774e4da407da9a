/**
 * `real verify DIR`: loads a Hugging Face checkpoint, runs the sequences of golden.json packed together, and compares
 * logits, loss, gradients and greedy continuations with golden.safetensors (what transformers computed).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { CheckpointError, type Loss, type Ops, SequenceSample } from '@realhf/api';
import { NetworkEngine } from '@realhf/backends';
import { ReaLModel, weightsToHf } from '@realhf/model';
import {
  readCheckpointDir,
  SafetensorsFile,
  writeSafetensors,
  type SafetensorsTensor,
} from '@realhf/model/node';
import { z } from 'zod';

const goldenSchema = z.object({
  sequences: z.array(z.array(z.number().int().nonnegative())).min(1),
  greedy: z.array(z.array(z.number().int())),
  loss: z.number(),
});

/** The JSON line that `real verify` prints. */
export interface VerifyReport {
  family: string;
  /** Largest |Δ logit| over all sequences. */
  maxLogitError: number;
  lossError: number;
  /** Largest ‖Δ grad‖ / ‖grad‖ over tensors; Infinity where a zero gradient is not zero. */
  maxGradError: number;
  greedyMatch: boolean;
  adapter: string;
}

/** Limits of a pass: logits and loss absolute, gradients relative per tensor. */
export const limits = { logits: 1e-4, loss: 1e-4, grad: 1e-3 };
/** With products of f16 operands, logits and loss alone count: greedy text may turn where two tokens are nearly even. */
export const f16Limits = { logits: 2e-2, loss: 2e-2 };

export function verifyPasses(r: VerifyReport, precision: 'f32' | 'f16' = 'f32'): boolean {
  if (precision === 'f16')
    return r.maxLogitError <= f16Limits.logits && r.lossError <= f16Limits.loss;
  return (
    r.maxLogitError <= limits.logits &&
    r.lossError <= limits.loss &&
    r.maxGradError <= limits.grad &&
    r.greedyMatch
  );
}

/** Mean cross-entropy over every predicted token. */
export const crossEntropy: Loss = {
  name: 'cross_entropy',
  weight: (s) => s.lengths('packed_input_ids').reduce((n, l) => n + l - 1, 0),
  compute: ({ logProbs = new Float32Array(), totalWeight }) => ({
    loss: -logProbs.reduce((a, b) => a + b, 0) / totalWeight,
    dLogProbs: logProbs.map(() => -1 / totalWeight),
  }),
};

/** Runs the comparison; with `dump`, writes what was computed under golden.safetensors' names (and greedy.<i> as int32). */
export async function verify(dir: string, ops: Ops, dump?: string): Promise<VerifyReport> {
  const golden = await readGolden(join(dir, 'golden.json'));
  const checkpoint = await readCheckpointDir(dir);
  const want = await SafetensorsFile.open(join(dir, 'golden.safetensors'));
  const model = new ReaLModel({ ops, config: checkpoint.config });
  const out: Record<string, SafetensorsTensor> = {};
  try {
    await checkpoint.load((name, full) => {
      model.load(name, full);
    });
    const { sequences } = golden;
    const sample = SequenceSample.fromDefault({
      ids: sequences.map((_, i) => `${i}`),
      seqlens: sequences.map((s) => s.length),
      data: { packed_input_ids: Int32Array.from(sequences.flat()) },
    });
    const batch = {
      tokens: sample.i32('packed_input_ids'),
      cuSeqlens: sample.cuSeqlens('packed_input_ids'),
    };

    const pass = await model.forward(batch, { train: true, logits: true });
    const { logits = new Float32Array(), logProbs = new Float32Array() } = pass.output ?? {};
    const vocab = checkpoint.config.vocabSize;
    sequences.forEach((s, i) => {
      const from = batch.cuSeqlens[i]! * vocab;
      out[`logits.${i}`] = {
        dtype: 'F32',
        shape: [s.length, vocab],
        data: logits.subarray(from, from + s.length * vocab),
      };
    });
    const loss = crossEntropy.compute({
      sample,
      cuSeqlens: batch.cuSeqlens,
      logProbs,
      totalWeight: crossEntropy.weight(sample),
    });
    out.loss = { dtype: 'F32', shape: [1], data: Float32Array.of(loss.loss) };
    await pass.backward(loss.dLogProbs ? { dLogProbs: loss.dLogProbs } : {});
    // transformers names gradients as its parameters, which may differ from the names in checkpoints.
    for (const otherNames of [false, true]) {
      const grads = weightsToHf(checkpoint.config, (name) => model.dump(name, 'grads'), {
        otherNames,
      });
      for await (const t of grads) {
        const data = Float32Array.from(t.data);
        out[`grad.${t.name}`] = { dtype: 'F32', shape: [...t.shape], data };
      }
    }

    const engine = new NetworkEngine(model);
    const eos = checkpoint.config.eosTokenId;
    const generated = await engine.generate(
      sample.remapKeys({ packed_input_ids: 'packed_prompts' }),
      {
        max_new_tokens: 24,
        min_new_tokens: 0,
        greedy: true,
        top_p: 1,
        top_k: vocab,
        temperature: 1,
        force_no_logits_mask: true,
      },
      { eosTokenId: eos, padTokenId: checkpoint.config.padTokenId, seed: 1 },
    );
    generated.tokens.forEach(
      (t, i) => (out[`greedy.${i}`] = { dtype: 'I32', shape: [t.length], data: t }),
    );
    if (dump !== undefined) await writeSafetensors(dump, out);
    const greedyMatch = golden.greedy.every(
      (g, i) =>
        g.length === generated.tokens[i]?.length &&
        g.every((t, j) => t === generated.tokens[i]![j]),
    );
    return {
      family: checkpoint.config.family,
      ...(await compare(want, out)),
      greedyMatch,
      adapter: ops.adapter,
    };
  } finally {
    model.free();
    await want.close();
    await checkpoint.close();
  }
}

async function compare(want: SafetensorsFile, got: Readonly<Record<string, SafetensorsTensor>>) {
  const worst = { maxLogitError: 0, lossError: 0, maxGradError: 0 };
  for (const name of want.names()) {
    const reference = await want.read(name);
    const mine = got[name]?.data;
    if (mine?.length !== reference.length)
      throw new CheckpointError(
        `golden.safetensors has tensor '${name}' of ${reference.length} elements; this model gives ${mine?.length ?? 'none'}`,
      );
    let maxAbs = 0;
    let difference = 0;
    let norm = 0;
    for (let i = 0; i < reference.length; i++) {
      const d = mine[i]! - reference[i]!;
      // NaN must not slip through a comparison.
      maxAbs = Math.abs(d) <= maxAbs ? maxAbs : Number.isNaN(d) ? Infinity : Math.abs(d);
      difference += d * d;
      norm += reference[i]! ** 2;
    }
    const relative = norm > 0 ? Math.sqrt(difference / norm) : difference > 0 ? Infinity : 0;
    if (name.startsWith('logits.')) worst.maxLogitError = Math.max(worst.maxLogitError, maxAbs);
    else if (name === 'loss') worst.lossError = maxAbs;
    else
      worst.maxGradError = Math.max(
        worst.maxGradError,
        Number.isNaN(relative) ? Infinity : relative,
      );
  }
  return worst;
}

async function readGolden(path: string) {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new CheckpointError(
      `cannot read ${path}; real verify needs a folder with golden.json and golden.safetensors (tools/golden makes them)`,
      { cause },
    );
  }
  const parsed = goldenSchema.safeParse(JSON.parse(text));
  if (!parsed.success)
    throw new CheckpointError(
      `${path}: ${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}`,
    );
  return parsed.data;
}
