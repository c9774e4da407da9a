/**
 * RAFT: three MFCs on the roles actor, reward: several answers per prompt, their scores, supervised training on the best.
 * An item holds its answers as sequences, as in GRPO. Dong et al. 2023, arXiv 2304.06767.
 */
import { modelName, type MFCDef, type Registered } from '@realhf/api';

/** Calls of RAFT. */
export const raftMFCNames = ['actor_gen', 'rew_inf', 'actor_train'] as const;

/** A call of RAFT. */
export type RaftMFCName = (typeof raftMFCNames)[number];

type Args = Readonly<Record<string, unknown>>;

/** Options of raftMFCs. */
export interface RaftOptions {
  /** Prompts per step. */
  readonly nSeqs: number;
  /** Arguments of `raft`. */
  readonly actorArgs?: Args;
  /** Arguments of `paired_rw`. */
  readonly rewardArgs?: Args;
  /** Instead of `paired_rw`: an interface whose inference maps packed_input_ids and prompt_mask to rewards, one per sequence. */
  readonly rewardInterface?: Registered;
  /** Microbatches by MFC. */
  readonly nMbs?: Partial<Readonly<Record<RaftMFCName, number>>>;
}

/** The three MFCs; the dataset has to deliver `packed_prompts`. */
export function raftMFCs(options: RaftOptions): MFCDef[] {
  const actor = {
    interfaceImpl: { type_: 'raft', args: options.actorArgs ?? {} },
    model: modelName('actor'),
  };
  const common = (name: RaftMFCName) => {
    const nMbs = options.nMbs?.[name];
    return { name, nSeqs: options.nSeqs, ...(nMbs === undefined ? {} : { nMbs }) };
  };
  return [
    {
      ...common('actor_gen'),
      ...actor,
      interfaceType: 'generate',
      inputKeys: ['packed_prompts'],
      outputKeys: ['seq_no_eos_mask', 'packed_input_ids', 'prompt_mask'],
      balancedDp: true,
    },
    {
      ...common('rew_inf'),
      interfaceType: 'inference',
      interfaceImpl: options.rewardInterface ?? {
        type_: 'paired_rw',
        args: { ...options.rewardArgs, enable_save: false },
      },
      model: modelName('reward'),
      // Who scores from outside has to tell an answer from its prompt.
      inputKeys: ['packed_input_ids', ...(options.rewardInterface ? ['prompt_mask'] : [])],
      outputKeys: ['rewards'],
    },
    {
      ...common('actor_train'),
      ...actor,
      interfaceType: 'train_step',
      inputKeys: ['packed_input_ids', 'prompt_mask', 'seq_no_eos_mask', 'rewards'],
      outputKeys: [],
      logReturnValue: true,
    },
  ];
}
