/**
 * GRPO (reference: A8) and RLOO: four MFCs on the roles actor, ref, reward. An item is a prompt; after actor_gen it holds
 * a group of answers as its sequences. Shao et al. 2024, arXiv 2402.03300; Ahmadian et al. 2024, arXiv 2402.14740.
 */
import { modelName, type MFCDef, type Registered } from '@realhf/api';

/** Calls of GRPO. */
export const grpoMFCNames = ['actor_gen', 'rew_inf', 'ref_inf', 'actor_train'] as const;

/** A call of GRPO. */
export type GrpoMFCName = (typeof grpoMFCNames)[number];

type Args = Readonly<Record<string, unknown>>;

/** Options of grpoMFCs. */
export interface GrpoOptions {
  /** Prompts per step. */
  readonly nSeqs: number;
  /** Generation records masks of removed tokens, so inference and training must apply them. */
  readonly logitsMask: boolean;
  /** Default true; false where the KL has no weight: then there are three MFCs, and no role ref. */
  readonly withRef?: boolean;
  /** Arguments of the actor's interface; the reference model gets the same (temperature!) but for `enable_save`. */
  readonly actorArgs?: Args;
  /** Arguments of `paired_rw`. */
  readonly rewardArgs?: Args;
  /** Instead of `paired_rw`: an interface whose inference maps packed_input_ids and prompt_mask to rewards, one per sequence. */
  readonly rewardInterface?: Registered;
  /** Microbatches by MFC. */
  readonly nMbs?: Partial<Readonly<Record<GrpoMFCName, number>>>;
  /** Offload the parameters of ref and reward to the host after their calls. Default false. */
  readonly offload?: { readonly ref?: boolean; readonly reward?: boolean };
}

/** The MFCs with interface `grpo`; the dataset has to deliver `packed_prompts`. */
export function grpoMFCs(options: GrpoOptions): MFCDef[] {
  return groupMFCs('grpo', options);
}

/** The same graph with interface `rloo`. */
export function rlooMFCs(options: GrpoOptions): MFCDef[] {
  return groupMFCs('rloo', options);
}

function groupMFCs(type_: 'grpo' | 'rloo', options: GrpoOptions): MFCDef[] {
  const mask = options.logitsMask ? ['packed_logits_mask'] : [];
  const actorImpl = { type_, args: options.actorArgs ?? {} };
  const common = (name: GrpoMFCName) => {
    const nMbs = options.nMbs?.[name];
    return { name, nSeqs: options.nSeqs, ...(nMbs === undefined ? {} : { nMbs }) };
  };
  const offload = (wanted: boolean | undefined) =>
    wanted === true ? { postHooks: [{ type: 'offload' }] as const } : {};
  const withRef = options.withRef ?? true;
  const mfcs: MFCDef[] = [
    {
      ...common('actor_gen'),
      interfaceType: 'generate',
      interfaceImpl: actorImpl,
      model: modelName('actor'),
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
      ...offload(options.offload?.reward),
    },
    {
      ...common('ref_inf'),
      interfaceType: 'inference',
      interfaceImpl: { type_, args: { ...options.actorArgs, enable_save: false } },
      model: modelName('ref'),
      inputKeys: ['packed_input_ids', 'prompt_mask', ...mask],
      outputKeys: ['packed_ref_logprobs'],
      ...offload(options.offload?.ref),
    },
    {
      ...common('actor_train'),
      interfaceType: 'train_step',
      interfaceImpl: actorImpl,
      model: modelName('actor'),
      inputKeys: [
        'packed_input_ids',
        'packed_logprobs',
        ...(withRef ? ['packed_ref_logprobs'] : []),
        'rewards',
        'prompt_mask',
        'seq_no_eos_mask',
        ...mask,
      ],
      outputKeys: [],
      logReturnValue: true,
    },
  ];
  return mfcs.filter((m) => withRef || m.name !== 'ref_inf');
}
