/** Paired reward model (reference: A2): one train_step on items of (chosen, rejected) pairs. */
import { modelName, type MFCDef } from '@realhf/api';

/** Options of rwMFCs. */
export interface RwOptions {
  /** Items per step; an item holds all pairs of one prompt. */
  readonly nSeqs: number;
  readonly nMbs?: number;
  /** Arguments of the `paired_rw` interface. */
  readonly interfaceArgs?: Readonly<Record<string, unknown>>;
}

/** MFC `rwTrain` on role `default`. */
export function rwMFCs(options: RwOptions): MFCDef[] {
  return [
    {
      name: 'rwTrain',
      nSeqs: options.nSeqs,
      interfaceType: 'train_step',
      interfaceImpl: { type_: 'paired_rw', args: options.interfaceArgs ?? {} },
      model: modelName('default'),
      inputKeys: ['packed_input_ids'],
      outputKeys: [],
      logReturnValue: true,
      ...(options.nMbs === undefined ? {} : { nMbs: options.nMbs }),
    },
  ];
}
