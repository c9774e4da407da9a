/** Supervised fine-tuning (reference: A1): one train_step on prompt-answer pairs. */
import { modelName, type MFCDef } from '@realhf/api';

/** Options of sftMFCs. */
export interface SftOptions {
  /** Items per step. */
  readonly nSeqs: number;
  readonly nMbs?: number;
  /** Arguments of the `sft` interface. */
  readonly interfaceArgs?: Readonly<Record<string, unknown>>;
}

/** MFC `trainDefault` on role `default`. */
export function sftMFCs(options: SftOptions): MFCDef[] {
  return [
    {
      name: 'trainDefault',
      nSeqs: options.nSeqs,
      interfaceType: 'train_step',
      interfaceImpl: { type_: 'sft', args: options.interfaceArgs ?? {} },
      model: modelName('default'),
      inputKeys: ['packed_input_ids', 'prompt_mask'],
      outputKeys: [],
      logReturnValue: true,
      ...(options.nMbs === undefined ? {} : { nMbs: options.nMbs }),
    },
  ];
}
