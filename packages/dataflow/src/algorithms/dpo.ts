/** Direct preference optimization (reference: A3): the reference scores both answers once, then the actor trains on the pairs. */
import { modelName, type MFCDef } from '@realhf/api';

/** Calls of DPO. */
export const dpoMFCNames = ['ref_inf', 'actor_train'] as const;

/** A call of DPO. */
export type DpoMFCName = (typeof dpoMFCNames)[number];

/** Options of dpoMFCs. */
export interface DpoOptions {
  /** Items per step; an item holds all pairs of one prompt. */
  readonly nSeqs: number;
  /** Arguments of the `dpo` interface. */
  readonly interfaceArgs?: Readonly<Record<string, unknown>>;
  /** Microbatches by MFC. */
  readonly nMbs?: Partial<Readonly<Record<DpoMFCName, number>>>;
  /** Offload the reference's parameters to the host after its call. Default false. */
  readonly offloadRef?: boolean;
}

/** MFCs `ref_inf` on role `ref` and `actor_train` on role `actor`; the dataset delivers `packed_input_ids`, `prompt_lens`. */
export function dpoMFCs(options: DpoOptions): MFCDef[] {
  const common = (name: DpoMFCName) => {
    const nMbs = options.nMbs?.[name];
    return { name, nSeqs: options.nSeqs, ...(nMbs === undefined ? {} : { nMbs }) };
  };
  const inputKeys = ['packed_input_ids', 'prompt_lens'];
  return [
    {
      ...common('ref_inf'),
      interfaceType: 'inference',
      interfaceImpl: { type_: 'dpo', args: { ...options.interfaceArgs, enable_save: false } },
      model: modelName('ref'),
      inputKeys,
      outputKeys: ['seqlogp'],
      ...(options.offloadRef === true ? { postHooks: [{ type: 'offload' }] as const } : {}),
    },
    {
      ...common('actor_train'),
      interfaceType: 'train_step',
      interfaceImpl: { type_: 'dpo', args: options.interfaceArgs ?? {} },
      model: modelName('actor'),
      inputKeys: [...inputKeys, 'seqlogp'],
      outputKeys: [],
      logReturnValue: true,
    },
  ];
}
