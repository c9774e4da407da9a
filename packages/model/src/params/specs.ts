/**
 * ParamSpecs: every tensor of a model and its place in the logical flat parameter space (reference: M10).
 * Names are `<layer>.<name>`: 0 = embeddings, 1…L = blocks, L+1 = final norm and head. Linear weights are
 * [out, in] row-major; q, k, v and gate, up are stacked by rows, and so are experts (gate, up of each). The head comes last, so that an actor and a
 * critic of the same shape agree on every other offset.
 */
import type { ModelConfig, ParamSpec } from '@realhf/api';

type Init = ParamSpec['init'];

/** All parameters in the order of the flat space, which has no padding. */
export function paramSpecs(config: ModelConfig): ParamSpec[] {
  const { hiddenDim: h, headDim, nLayers, intermediateDim: inter } = config;
  const qDim = config.nHeads * headDim;
  const kvDim = config.nKvHeads * headDim;
  const specs: ParamSpec[] = [];
  let offset = 0;

  const add = (layer: number, name: string, shape: number[], init: Init, decay: boolean) => {
    const size = shape.reduce((a, b) => a * b, 1);
    specs.push({ name: `${layer}.${name}`, shape, offset, size, layer, decay, init });
    offset += size;
  };
  const norm = (layer: number, name: string) => {
    add(layer, `${name}.weight`, [h], config.norm === 'gemma' ? 'zeros' : 'ones', false);
    if (config.norm === 'layer') add(layer, `${name}.bias`, [h], 'zeros', false);
  };
  const linear = (
    layer: number,
    name: string,
    out: number,
    inn: number,
    bias: boolean,
    init: Init,
  ) => {
    add(layer, `${name}.weight`, [out, inn], init, true);
    if (bias) add(layer, `${name}.bias`, [out], 'zeros', false);
  };

  add(0, 'wte.weight', [config.vocabSize, h], 'normal', true);
  if (!config.rope) add(0, 'wpe.weight', [config.maxPositions, h], 'normal', true);
  for (let l = 1; l <= nLayers; l++) {
    norm(l, 'attn.ln');
    linear(l, 'attn.qkv', qDim + 2 * kvDim, h, config.qkvBias, 'normal');
    if (config.qkNorm)
      for (const name of ['attn.q_norm.weight', 'attn.k_norm.weight'])
        add(l, name, [headDim], 'ones', false);
    linear(l, 'attn.o', h, qDim, config.projBias, 'residual');
    norm(l, 'mlp.ln');
    if (config.moe) {
      const { numExperts } = config.moe;
      linear(l, 'mlp.router', numExperts, h, false, 'normal');
      linear(l, 'mlp.experts_gate_up', numExperts * 2 * inter, h, false, 'normal');
      linear(l, 'mlp.experts_down', numExperts * h, inter, false, 'residual');
      continue;
    }
    if (config.mlp === 'gated') linear(l, 'mlp.gate_up', 2 * inter, h, config.mlpBias, 'normal');
    else linear(l, 'mlp.fc', inter, h, config.mlpBias, 'normal');
    linear(l, 'mlp.down', h, inter, config.mlpBias, 'residual');
  }
  norm(nLayers + 1, 'ln_f');
  if (hasOwnHead(config))
    add(nLayers + 1, 'head.weight', [config.isCritic ? 1 : config.vocabSize, h], 'normal', true);
  return specs;
}

/** Whether the head is a parameter of its own: always for critics, otherwise unless tied to `0.wte.weight`. */
export function hasOwnHead(config: ModelConfig): boolean {
  return config.isCritic || !config.tiedEmbedding;
}

/** Elements of the flat space. */
export function paramCount(config: ModelConfig): number {
  return paramSpecs(config).reduce((n, s) => n + s.size, 0);
}
