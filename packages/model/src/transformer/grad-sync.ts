/**
 * After the last backward of a step, gradients of what several ranks hold are made equal: KV heads shared by
 * tensor-parallel ranks (each saw only its own q heads), norms of heads (each rank saw its own heads), and a tied
 * embedding on the first and last stage. Other norms and row-parallel biases need nothing: their gradients are the same
 * on every rank already.
 */
import type { Stage } from './stage.js';

export async function syncGradients(model: Stage): Promise<void> {
  await syncSharedKv(model);
  await syncHeadNorms(model);
  await syncTiedEmbedding(model);
}

async function syncHeadNorms(model: Stage): Promise<void> {
  for (const { spec } of model.locals)
    if (/\.attn\.[qk]_norm\.weight$/.test(spec.name))
      await model.shard.allReduce(model.shard.g(spec.name));
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
  const { pp, ppSize } = model.groups;
  const { tiedEmbedding, isCritic } = model.config;
  if (!pp || ppSize === 1 || !tiedEmbedding || isCritic) return;
  const { isFirstStage, isLastStage } = model.shard;
  if (!isFirstStage && !isLastStage) return;
  const grad = model.shard.g('0.wte.weight');
  const mine = await model.ops.read(grad);
  const theirs = new Float32Array(mine.length);
  const peer = isFirstStage ? ppSize - 1 : 0;
  const sent = pp.send(peer, mine);
  await pp.recv(peer, theirs);
  await sent;
  model.ops.write(
    grad,
    mine.map((v, i) => v + theirs[i]!),
  );
}
