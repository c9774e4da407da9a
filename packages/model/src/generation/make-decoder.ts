/** Decode steps by the device's own kernels (Ops.decoder), for models that they can do. */
import type { DecodeLayer, Decoder, DecodeModel } from '@realhf/api';

import { headName } from '../transformer/final-norm.js';
import type { Stage } from '../transformer/stage.js';
import type { LayerPools } from './rows-pass.js';

/** A decoder for steps of at most `maxRows` rows, or undefined: then steps are made of single ops. */
export function makeDecoder(
  { ops, shard, config, blocks, groups }: Stage,
  pools: readonly LayerPools[],
  maxRows: number,
): Decoder | undefined {
  const { norm, mlp, qkNorm, moe, isCritic } = config;
  const cosSin = blocks[0]?.cosSin;
  const plain = groups.tpSize === 1 && groups.ppSize === 1 && !shard.adapter && !isCritic;
  if (!ops.decoder || !plain || !cosSin || norm === 'layer' || mlp !== 'gated' || qkNorm || moe)
    return undefined;
  const weight = (name: string) => {
    const pieces = shard.pieces(`${name}.weight`);
    return pieces.length === 1 ? pieces[0]!.tensor : undefined;
  };
  const layers: DecodeLayer[] = [];
  for (const [i, block] of blocks.entries()) {
    const name = (part: string) => `${i + 1}.${part}`;
    const [qkv, o, gateUp, down] = ['attn.qkv', 'attn.o', 'mlp.gate_up', 'mlp.down'].map((part) =>
      weight(name(part)),
    );
    const biased = ['attn.o', 'mlp.gate_up', 'mlp.down'].some((p) => shard.has(name(`${p}.bias`)));
    if (!qkv || !o || !gateUp || !down || biased) return undefined;
    const qkvBias = shard.maybe(name('attn.qkv.bias'));
    layers.push({
      ...{ qkv, o, gateUp, down },
      ...pools[i]!,
      attnNorm: shard.w(name('attn.ln.weight')),
      mlpNorm: shard.w(name('mlp.ln.weight')),
      ...(qkvBias ? { qkvBias } : {}),
      scale: block.scale,
    });
  }
  const [embedding, head] = [weight('0.wte'), weight(headName(shard).replace(/\.weight$/, ''))];
  if (!embedding || !head || shard.has('0.wpe.weight')) return undefined;
  const model: DecodeModel = {
    ...{ layers, embedding, head, cosSin, norm, maxRows },
    embeddingScale: config.embeddingScale,
    finalNorm: shard.w(`${config.nLayers + 1}.ln_f.weight`),
    eps: config.normEps,
    activation: config.activation,
    nHeads: shard.heads.nHeads,
    nKvHeads: shard.heads.nKvHeads,
    headDim: config.headDim,
    ...(config.slidingWindow === undefined ? {} : { window: config.slidingWindow }),
  };
  return ops.decoder(model);
}
