/**
 * Low-rank adapters (LoRA: Hu et al. 2021, arXiv 2106.09685): y = x·Wᵀ + s·(x·Aᵀ)·Bᵀ with a frozen W, A [r, in] and
 * B [out, r]. Targets have PEFT's names. q, k, v and gate, up are rows of one fused weight, a site: each of its targets
 * has an A of its own, and its rows of the site's B.
 */
import { ConfigError, type ModelConfig } from '@realhf/api';

/** Linear layers that an adapter can be on. */
export const loraTargets = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
] as const;

/** A linear layer that an adapter can be on. */
export type LoraTarget = (typeof loraTargets)[number];

/** Rank, scale and layers of a LoRA adapter. */
export interface LoraConfig {
  readonly rank: number;
  /** s = alpha / rank. */
  readonly alpha: number;
  readonly targets: readonly LoraTarget[];
  /** s = alpha / √rank (Kalajdzievski 2023, arXiv 2312.03732). Default false. */
  readonly rslora?: boolean;
}

/** s. */
export function loraScale({ rank, alpha, rslora = false }: LoraConfig): number {
  return alpha / (rslora ? Math.sqrt(rank) : rank);
}

/** A weight of a block that is adapted. */
interface LoraSite {
  /** `attn.qkv`, `attn.o`, `mlp.gate_up`, `mlp.fc`, `mlp.down`. */
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** All targets that are rows of the weight, in their order, whether adapted or not. */
  readonly parts: readonly { readonly target: LoraTarget; readonly rows: number }[];
  /** Those adapted, in the order of their As. */
  readonly adapted: readonly LoraTarget[];
}

/**
 * The adapted weights of one block, with the sizes of the whole model. Throws ConfigError if a target is not there or
 * the numbers make no adapter.
 */
export function loraSites(config: ModelConfig, lora: LoraConfig): LoraSite[] {
  const { rank, alpha, targets } = lora;
  if (!Number.isInteger(rank) || rank < 1 || !(alpha > 0))
    throw new ConfigError(
      `lora of rank ${rank} and alpha ${alpha}; a whole rank ≥ 1 and alpha > 0 are needed`,
    );
  const { hiddenDim: h, headDim, intermediateDim: inner } = config;
  const q = config.nHeads * headDim;
  const kv = config.nKvHeads * headDim;
  const all: Omit<LoraSite, 'rows' | 'adapted'>[] = [
    {
      name: 'attn.qkv',
      columns: h,
      parts: [
        { target: 'q_proj', rows: q },
        { target: 'k_proj', rows: kv },
        { target: 'v_proj', rows: kv },
      ],
    },
    { name: 'attn.o', columns: q, parts: [{ target: 'o_proj', rows: h }] },
  ];
  if (!config.moe) {
    const up = { target: 'up_proj', rows: inner } as const;
    all.push(
      config.mlp === 'gated'
        ? { name: 'mlp.gate_up', columns: h, parts: [{ target: 'gate_proj', rows: inner }, up] }
        : { name: 'mlp.fc', columns: h, parts: [up] },
      { name: 'mlp.down', columns: inner, parts: [{ target: 'down_proj', rows: h }] },
    );
  }
  const sites = all
    .map((s) => ({
      ...s,
      rows: s.parts.reduce((n, p) => n + p.rows, 0),
      adapted: s.parts.map((p) => p.target).filter((t) => targets.includes(t)),
    }))
    .filter((s) => s.adapted.length > 0);
  const known = all.flatMap((s) => s.parts.map((p) => p.target));
  const strange = targets.find((t) => !known.includes(t));
  if (strange !== undefined || sites.length === 0)
    throw new ConfigError(
      `lora targets ${targets.join(', ') || '(none)'}: a ${config.family} model${config.moe ? ' of experts' : ''} has ${known.join(', ')}`,
    );
  return sites;
}
