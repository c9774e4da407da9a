/**
 * After the last backward of a step, gradients of what several ranks hold are made equal: KV heads shared by
 * tensor-parallel ranks (each saw only its own q heads), norms of heads (each rank saw its own heads), norms and
 * positions under sequence parallelism (each rank saw its own tokens), and a tied embedding on the first and last stage.
 * The rest needs nothing: gradients of row-parallel biases, and of norms otherwise, are the same on every rank already.
 */
import type { Stage } from './stage.js';

export async function syncGradients(model: Stage): Promise<void> {
  await syncSharedKv(model);
  await syncReplicated(model);
  await syncTiedEmbedding(model);
}

/** Replicated parameters of which every rank has a part of the gradient. */
async function syncReplicated(model: Stage): Promise<void> {
  const { shard } = model;
  const ofHeads = /\.attn\.[qk]_norm\.weight$/;
  const ofTokens = /\.(ln|ln_f|wpe)\.(weight|bias)$/;
  for (const { spec } of model.locals)
    if (ofHeads.test(spec.name) || (shard.splitsTokens && ofTokens.test(spec.name)))
      await shard.allReduce(shard.g(spec.name));
}

async function syncSharedKv(model: Stage): Promise<void> {
  const { tp, tpSize } = model.groups;
  const { nKvHeads, headDim, hiddenDim } = model.config;
  if (!tp || tpSize === 1 || nKvHeads % tpSize === 0) return;
  const { heads } = model.shard;
  for (const block of model.locals.filter((p) => /\.attn\.qkv\.(weight|bias)$/.test(p.spec.name))) {
    const columns = block.spec.name.endsWith('bias') ? 1 : hiddenDim;
    const grad = model.shard.g(block.spec.name);
    const host = await model.ops.read(grad);
    // All kv heads of the model, k then v, zeros where this rank has none.
    const rows = nKvHeads * headDim * columns;
    const all = new Float32Array(2 * rows);
    const local = heads.nKvHeads * headDim * columns;
    const q = heads.nHeads * headDim * columns;
    const at = heads.kvHeadOffset * headDim * columns;
    all.set(host.subarray(q, q + local), at);
    all.set(host.subarray(q + local, q + 2 * local), rows + at);
    await tp.allReduce(all);
    host.set(all.subarray(at, at + local), q);
    host.set(all.subarray(rows + at, rows + at + local), q + local);
    model.ops.write(grad, host);
  }
}

async function syncTiedEmbedding(model: Stage): Promise<void> {
  const { ppSize } = model.groups;
  const { tiedEmbedding, isCritic } = model.config;
  if (ppSize === 1 || !tiedEmbedding || isCritic) return;
  const { isFirstStage, isLastStage } = model.shard;
  if (!isFirstStage && !isLastStage) return;
  const { ops, shard } = model;
  const grad = shard.g('0.wte.weight');
  const theirs = ops.empty(grad.shape);
  // One sends first, for transports whose sends wait for the receiver.
  if (isFirstStage) await shard.pp!.send(ppSize - 1, grad);
  await shard.pp!.recv(isFirstStage ? ppSize - 1 : 0, theirs);
  if (isLastStage) await shard.pp!.send(0, grad);
  ops.add(grad, theirs, grad);
  ops.free(theirs);
}
