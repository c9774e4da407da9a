/**
 * PPO (reference: A4, A5, A10): six MFCs on the roles actor, critic, ref, reward. Whether `packed_logits_mask` flows
 * is decided once, by `logitsMask`: true exactly when generation records which tokens top_p and top_k removed.
 * Ouyang et al. 2022, arXiv 2203.02155.
 */
import { modelName, type MFCDef, type MFCHook, type Registered } from '@realhf/api';

/** Calls of PPO. */
export const ppoMFCNames = [
  'actor_gen',
  'rew_inf',
  'ref_inf',
  'critic_inf',
  'actor_train',
  'critic_train',
] as const;

/** A call of PPO. */
export type PpoMFCName = (typeof ppoMFCNames)[number];

type Args = Readonly<Record<string, unknown>>;

/** Options of ppoMFCs. */
export interface PpoOptions {
  /** Prompts per step. */
  readonly nSeqs: number;
  /** Generation records masks of removed tokens, so inference and training must apply them. */
  readonly logitsMask: boolean;
  /** Arguments of `ppo_actor`; the reference model gets the same (temperature!) but for `enable_save`. */
  readonly actorArgs?: Args;
  /** Arguments of `ppo_critic`. */
  readonly criticArgs?: Args;
  /** Arguments of `paired_rw`. */
  readonly rewardArgs?: Args;
  /** Instead of `paired_rw`: an interface whose inference maps packed_input_ids and prompt_mask to rewards. */
  readonly rewardInterface?: Registered;
  /** Microbatches by MFC. */
  readonly nMbs?: Partial<Readonly<Record<PpoMFCName, number>>>;
  /** Offload the parameters of ref and reward to the host after their calls. Default false. */
  readonly offload?: { readonly ref?: boolean; readonly reward?: boolean };
  /** After actor_train: ref = eta·actor + (1 − eta)·ref; the ref model is then never offloaded. */
  readonly refEmaEta?: number;
}

/** The six MFCs; the dataset has to deliver `packed_prompts`. */
export function ppoMFCs(options: PpoOptions): MFCDef[] {
  const mask = options.logitsMask ? ['packed_logits_mask'] : [];
  const actorImpl = { type_: 'ppo_actor', args: options.actorArgs ?? {} };
  const criticImpl = { type_: 'ppo_critic', args: options.criticArgs ?? {} };
  const refImpl = { type_: 'ppo_actor', args: { ...options.actorArgs, enable_save: false } };
  const rewardImpl = options.rewardInterface ?? {
    type_: 'paired_rw',
    args: { ...options.rewardArgs, enable_save: false },
  };
  const offload: readonly MFCHook[] = [{ type: 'offload' }];
  const offloadRef = options.offload?.ref === true && options.refEmaEta === undefined;
  const common = (name: PpoMFCName) => {
    const nMbs = options.nMbs?.[name];
    return { name, nSeqs: options.nSeqs, ...(nMbs === undefined ? {} : { nMbs }) };
  };
  const trainInputs = [
    'packed_input_ids',
    'packed_logprobs',
    'packed_ref_logprobs',
    'rewards',
    'values',
    'prompt_mask',
    'seq_no_eos_mask',
  ];
  return [
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
      interfaceImpl: rewardImpl,
      model: modelName('reward'),
      // Who scores from outside has to tell an answer from its prompt.
      inputKeys: ['packed_input_ids', ...(options.rewardInterface ? ['prompt_mask'] : [])],
      outputKeys: ['rewards'],
      ...(options.offload?.reward === true ? { postHooks: offload } : {}),
    },
    {
      ...common('ref_inf'),
      interfaceType: 'inference',
      interfaceImpl: refImpl,
      model: modelName('ref'),
      // prompt_mask: what was not sampled needs no log-prob.
      inputKeys: ['packed_input_ids', 'prompt_mask', ...mask],
      outputKeys: ['packed_ref_logprobs'],
      ...(offloadRef ? { postHooks: offload } : {}),
    },
    {
      ...common('critic_inf'),
      interfaceType: 'inference',
      interfaceImpl: criticImpl,
      model: modelName('critic'),
      inputKeys: ['packed_input_ids', 'seq_no_eos_mask'],
      outputKeys: ['values'],
    },
    {
      ...common('actor_train'),
      interfaceType: 'train_step',
      interfaceImpl: actorImpl,
      model: modelName('actor'),
      inputKeys: [...trainInputs, ...mask],
      outputKeys: [],
      logReturnValue: true,
      ...(options.refEmaEta === undefined
        ? {}
        : {
            postHooks: [
              { type: 'param_realloc', target: modelName('ref'), eta: options.refEmaEta },
            ] as const,
          }),
    },
    {
      ...common('critic_train'),
      interfaceType: 'train_step',
      interfaceImpl: criticImpl,
      model: modelName('critic'),
      inputKeys: trainInputs,
      outputKeys: [],
      logReturnValue: true,
    },
  ];
}
