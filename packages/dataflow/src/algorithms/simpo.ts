/** SimPO (Meng et al. 2024, arXiv 2405.14734): preferences without a reference, so one train_step. */
import { modelName, type MFCDef } from '@realhf/api';

/** Options of simpoMFCs. */
export interface SimpoOptions {
  /** Items per step; an item holds all pairs of one prompt. */
  readonly nSeqs: number;
  /** Arguments of the `simpo` interface. */
  readonly interfaceArgs?: Readonly<Record<string, unknown>>;
  readonly nMbs?: number;
}

/** MFC `actor_train` on role `actor`; the dataset delivers `packed_input_ids`, `prompt_lens`. */
export function simpoMFCs(options: SimpoOptions): MFCDef[] {
  return [
    {
      name: 'actor_train',
      nSeqs: options.nSeqs,
      ...(options.nMbs === undefined ? {} : { nMbs: options.nMbs }),
      interfaceType: 'train_step',
      interfaceImpl: { type_: 'simpo', args: options.interfaceArgs ?? {} },
      model: modelName('actor'),
      inputKeys: ['packed_input_ids', 'prompt_lens'],
      outputKeys: [],
      logReturnValue: true,
    },
  ];
}
