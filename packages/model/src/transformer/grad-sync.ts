/**
 * After the last backward of a step, gradients of what several ranks hold are made equal: KV heads shared by
 * tensor-parallel ranks (each saw only its own q heads), norms of heads (each rank saw its own heads), norms and
 * positions under sequence parallelism (each rank saw its own tokens), and a tied embedding on the first and last stage.
 * The rest needs nothing: gradients of row-parallel biases, and of norms otherwise, are the same on every rank already.
 */
import { rowRanges } from './row-pieces.js';
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
  // Adapters: A of a layer cut by rows saw this rank's rows, B of one cut by columns its part of x·Aᵀ.
  const ofAdapters = /\.(attn\.qkv|mlp\.gate_up|mlp\.fc)\.lora_a$|\.(attn\.o|mlp\.down)\.lora_b$/;
  for (const { spec, row } of model.locals)
    if (
      ofHeads.test(spec.name) ||
      ofAdapters.test(spec.name) ||
      (shard.splitsTokens && ofTokens.test(spec.name))
    )
      await shard.allReduce(shard.gradPieces(spec.name).find((p) => p.row === row)!.tensor);
}

async function syncSharedKv(model: Stage): Promise<void> {
  const { ops, shard } = model;
  const { nKvHeads, headDim } = model.config;
  if (!shard.tp || nKvHeads % shard.tp.size === 0) return;
  const { heads } = shard;
  for (const { spec } of model.locals.filter(
    (p) => p.row === 0 && /\.attn\.qkv\.(weight|bias|lora_b)$/.test(p.spec.name),
  )) {
    const width = spec.shape[1] ?? 1;
    const head = headDim * width;
    const grad = shard.gradPieces(spec.name);
    // All kv heads of the model, k then v, zeros where this rank has none.
    const all = ops.zeros([2 * nKvHeads * head]);
    const parts = [0, 1].flatMap((kind) => {
      const first = (heads.nHeads + kind * heads.nKvHeads) * headDim;
      const whole = (kind * nKvHeads + heads.kvHeadOffset) * head;
      return rowRanges(grad, first, first + heads.nKvHeads * headDim).map((r) => ({
        ...r,
        whole: whole + (r.row - first) * width,
      }));
    });
    for (const p of parts) ops.copy(p.tensor, all, p.size, p.offset, p.whole);
    await shard.allReduce(all);
    for (const p of parts) ops.copy(all, p.tensor, p.size, p.whole, p.offset);
    ops.free(all);
  }
}

async function syncTiedEmbedding(model: Stage): Promise<void> {
  const { ppSize } = model.groups;
  const { tiedEmbedding, isCritic } = model.config;
  if (ppSize === 1 || !tiedEmbedding || isCritic) return;
  const { isFirstStage, isLastStage } = model.shard;
  if ((!isFirstStage && !isLastStage) || !model.shard.trains('0.wte.weight')) return;
  const { ops, shard } = model;
  for (const { tensor: grad } of shard.gradPieces('0.wte.weight')) {
    const theirs = ops.empty(grad.shape);
    // One sends first, for transports whose sends wait for the receiver.
    if (isFirstStage) await shard.pp!.send(ppSize - 1, grad);
    await shard.pp!.recv(isFirstStage ? ppSize - 1 : 0, theirs);
    if (isLastStage) await shard.pp!.send(0, grad);
    ops.add(grad, theirs, grad);
    ops.free(theirs);
  }
}
