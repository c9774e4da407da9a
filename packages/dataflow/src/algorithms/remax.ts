/**
 * ReMax (reference: A9): five MFCs on the roles actor, reward. The prompts are answered twice, by sampling and greedily;
 * both answers are scored, and the keys of the greedy ones have names of their own. Li et al. 2023, arXiv 2310.10505.
 */
import { modelName, type MFCDef, type Registered } from '@realhf/api';

/** Calls of ReMax. */
export const remaxMFCNames = [
  'sample_gen',
  'greedy_gen',
  'sample_rw',
  'greedy_rw',
  'actor_train',
] as const;

/** A call of ReMax. */
export type RemaxMFCName = (typeof remaxMFCNames)[number];

type Args = Readonly<Record<string, unknown>>;

/** Options of remaxMFCs. */
export interface RemaxOptions {
  /** Prompts per step. */
  readonly nSeqs: number;
  /** Sampling records masks of removed tokens, so training must apply them. */
  readonly logitsMask: boolean;
  /** Arguments of `remax`. */
  readonly actorArgs?: Args;
  /** Arguments of `paired_rw`. */
  readonly rewardArgs?: Args;
  /** Instead of `paired_rw`: an interface whose inference maps packed_input_ids and prompt_mask to rewards. */
  readonly rewardInterface?: Registered;
  /** Microbatches by MFC. */
  readonly nMbs?: Partial<Readonly<Record<RemaxMFCName, number>>>;
}

/** The five MFCs; the dataset has to deliver `packed_prompts`. */
export function remaxMFCs(options: RemaxOptions): MFCDef[] {
  const mask = options.logitsMask ? ['packed_logits_mask'] : [];
  // Who scores from outside has to tell an answer from its prompt.
  const outside = options.rewardInterface !== undefined;
  const actor = {
    interfaceImpl: { type_: 'remax', args: options.actorArgs ?? {} },
    model: modelName('actor'),
  };
  const reward = {
    interfaceType: 'inference',
    interfaceImpl: options.rewardInterface ?? {
      type_: 'paired_rw',
      args: { ...options.rewardArgs, enable_save: false },
    },
    model: modelName('reward'),
  } as const;
  const common = (name: RemaxMFCName) => {
    const nMbs = options.nMbs?.[name];
    return { name, nSeqs: options.nSeqs, ...(nMbs === undefined ? {} : { nMbs }) };
  };
  return [
    {
      ...common('sample_gen'),
      ...actor,
      interfaceType: 'generate',
      inputKeys: ['packed_prompts'],
      outputKeys: [
        'seq_no_eos_mask',
        'packed_input_ids',
        'packed_logprobs',
        'prompt_mask',
        ...mask,
      ],
      balancedDp: true,
    },
    {
      ...common('greedy_gen'),
      ...actor,
      interfaceType: 'generate',
      inputKeys: ['packed_prompts'],
      // Tells the interface to answer greedily: a model has one interface for all its calls.
      inputKeyRemap: { packed_prompts: 'greedy_prompts' },
      outputKeys: ['greedy_input_ids', ...(outside ? ['greedy_prompt_mask'] : [])],
      outputKeyRemap: {
        packed_input_ids: 'greedy_input_ids',
        ...(outside ? { prompt_mask: 'greedy_prompt_mask' } : {}),
      },
      balancedDp: true,
    },
    {
      ...common('sample_rw'),
      ...reward,
      inputKeys: ['packed_input_ids', ...(outside ? ['prompt_mask'] : [])],
      outputKeys: ['rewards'],
    },
    {
      ...common('greedy_rw'),
      ...reward,
      inputKeys: ['greedy_input_ids', ...(outside ? ['greedy_prompt_mask'] : [])],
      inputKeyRemap: {
        greedy_input_ids: 'packed_input_ids',
        ...(outside ? { greedy_prompt_mask: 'prompt_mask' } : {}),
      },
      outputKeys: ['greedy_rewards'],
      outputKeyRemap: { rewards: 'greedy_rewards' },
    },
    {
      ...common('actor_train'),
      ...actor,
      interfaceType: 'train_step',
      inputKeys: [
        'packed_input_ids',
        'packed_logprobs',
        'prompt_mask',
        'seq_no_eos_mask',
        'rewards',
        'greedy_rewards',
        ...mask,
      ],
      outputKeys: [],
      logReturnValue: true,
    },
  ];
}
