/** Of each algorithm: its calls, which options lay out a call, which describe a role, and how long its sequences are. */
import { modelName, type MFCDef } from '@realhf/api';
import {
  dpoMFCs,
  grpoMFCs,
  ppoMFCs,
  raftMFCs,
  remaxMFCs,
  rlooMFCs,
  rwMFCs,
  sftMFCs,
  simpoMFCs,
  type Workload,
} from '@realhf/dataflow';

import { type AlgorithmName, type PlanOptions } from './options.js';

export interface PlannedAlgorithm {
  readonly mfcs: readonly MFCDef[];
  readonly datasetKeys: readonly string[];
  /** Option key of each call. */
  readonly callKeys: Readonly<Record<string, string>>;
  /** Option key of each role. */
  readonly roleKeys: Readonly<Record<string, string>>;
  /** Roles with a scalar head. */
  readonly scalarRoles: readonly string[];
  readonly workload: Workload;
  /** Minibatches of train_steps. */
  readonly minibatches: Readonly<Record<string, number>>;
}

interface Kind {
  mfcs(nSeqs: number): MFCDef[];
  readonly datasetKeys: readonly string[];
  readonly roleKeys: Readonly<Record<string, string>>;
  readonly scalarRoles?: readonly string[];
}

const logitsMask = false;
const ppoRoles = { actor: 'actor', critic: 'critic', ref: 'ref', reward: 'rew' };
/** An eta only makes the hook: its value plans nothing. */
const refEmaEta = 0.001;
const kinds: Readonly<Record<AlgorithmName, Kind>> = {
  ppo: {
    mfcs: (nSeqs) => ppoMFCs({ nSeqs, logitsMask }),
    datasetKeys: ['packed_prompts'],
    roleKeys: ppoRoles,
    scalarRoles: ['critic', 'reward'],
  },
  'ppo-ema': {
    mfcs: (nSeqs) => ppoMFCs({ nSeqs, logitsMask, refEmaEta }),
    datasetKeys: ['packed_prompts'],
    roleKeys: ppoRoles,
    scalarRoles: ['critic', 'reward'],
  },
  rloo: {
    mfcs: (nSeqs) => rlooMFCs({ nSeqs, logitsMask }),
    datasetKeys: ['packed_prompts'],
    roleKeys: { actor: 'actor', ref: 'ref', reward: 'rew' },
    scalarRoles: ['reward'],
  },
  remax: {
    mfcs: (nSeqs) => remaxMFCs({ nSeqs, logitsMask }),
    datasetKeys: ['packed_prompts'],
    roleKeys: { actor: 'actor', reward: 'rew' },
    scalarRoles: ['reward'],
  },
  raft: {
    mfcs: (nSeqs) => raftMFCs({ nSeqs }),
    datasetKeys: ['packed_prompts'],
    roleKeys: { actor: 'actor', reward: 'rew' },
    scalarRoles: ['reward'],
  },
  simpo: {
    mfcs: (nSeqs) => simpoMFCs({ nSeqs }),
    datasetKeys: ['packed_input_ids', 'prompt_lens'],
    roleKeys: { actor: 'actor' },
  },
  grpo: {
    mfcs: (nSeqs) => grpoMFCs({ nSeqs, logitsMask }),
    datasetKeys: ['packed_prompts'],
    roleKeys: { actor: 'actor', ref: 'ref', reward: 'rew' },
    scalarRoles: ['reward'],
  },
  dpo: {
    mfcs: (nSeqs) => dpoMFCs({ nSeqs }),
    datasetKeys: ['packed_input_ids', 'prompt_lens'],
    roleKeys: { actor: 'actor', ref: 'ref' },
  },
  sft: {
    mfcs: (nSeqs) => sftMFCs({ nSeqs }),
    datasetKeys: ['packed_input_ids', 'prompt_mask'],
    roleKeys: { default: 'model' },
  },
  rw: {
    mfcs: (nSeqs) => rwMFCs({ nSeqs }),
    datasetKeys: ['packed_input_ids', 'prompt_lens'],
    roleKeys: { default: 'model' },
    scalarRoles: ['default'],
  },
  gen: {
    mfcs: (nSeqs) => [
      {
        name: 'gen',
        nSeqs,
        interfaceType: 'generate',
        interfaceImpl: { type_: 'gen', args: {} },
        model: modelName('default'),
        inputKeys: ['packed_prompts'],
        outputKeys: ['packed_input_ids'],
      },
    ],
    datasetKeys: ['packed_prompts'],
    roleKeys: { default: 'model' },
  },
};

/** Calls and the keys of their dataset alone. */
export function algorithmGraph(name: AlgorithmName, nSeqs: number) {
  const { datasetKeys } = kinds[name];
  return { mfcs: kinds[name].mfcs(nSeqs), datasetKeys };
}

/** The algorithm with the options' batch, microbatches and lengths. */
export function plannedAlgorithm(name: AlgorithmName, options: PlanOptions): PlannedAlgorithm {
  const { dataset, ppo, gen, group_size: group, calls } = options;
  const kind = kinds[name];
  const plain = kind.mfcs(dataset.train_bs_n_seqs);
  const callKeys = Object.fromEntries(
    plain.map((m) => [m.name, m.name in calls ? m.name : 'allocation']),
  );
  const mfcs = plain.map((m) => {
    const nMbs = calls[callKeys[m.name]!]?.n_mbs ?? null;
    return nMbs === null ? m : { ...m, nMbs };
  });
  const promptTokens = dataset.max_prompt_len ?? dataset.max_seqlen ?? 0;
  const pairs = dataset.max_pairs_per_prompt;
  const n = ppo?.ppo_n_minibatches ?? options.ppo_n_minibatches ?? 1;
  const trains = mfcs.filter((m) => m.interfaceType === 'train_step');
  return {
    mfcs,
    datasetKeys: kind.datasetKeys,
    callKeys,
    roleKeys: kind.roleKeys,
    scalarRoles: kind.scalarRoles ?? [],
    workload: {
      promptTokens,
      newTokens: (ppo?.gen ?? gen)?.max_new_tokens ?? 0,
      sequences: pairs === undefined ? (group ?? 1) : 2 * pairs,
    },
    minibatches: Object.fromEntries(trains.map((m) => [m.name, n])),
  };
}
