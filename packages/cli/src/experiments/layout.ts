/** One device, so far: layouts that need more are refused where they are asked for. */
import { ConfigError } from '@realhf/api';

import type { MfcOptions } from '../options/schemas/mfc.js';
import { roleConfig } from './load-model.js';
import type { RoleSpec } from './spec.js';

export function requireOneDevice(calls: Readonly<Record<string, MfcOptions>>): void {
  for (const [name, { parallel }] of Object.entries(calls)) {
    for (const [key, size] of Object.entries(parallel)) {
      if (size === 1 || size === false) continue;
      throw new ConfigError(
        `${name}.parallel.${key}=${String(size)} asks for several devices; there is one: set n_gpus_per_node and allocation_mode=manual, or leave it out`,
      );
    }
  }
}

/** `n_mbs` of a call as MFCDef has it. */
export function microbatchesOf(call: MfcOptions): { nMbs?: number } {
  return call.n_mbs === null ? {} : { nMbs: call.n_mbs };
}

/** `n_mbs` of the calls that have one, as the lists of MFCs want it. */
export function microbatchesByName<N extends string>(
  names: readonly N[],
  calls: Readonly<Record<N, MfcOptions>>,
): Partial<Record<N, number>> {
  const out: Partial<Record<N, number>> = {};
  for (const name of names) {
    const n = calls[name].n_mbs;
    if (n !== null) out[name] = n;
  }
  return out;
}

/** Throws ConfigError where a model's tokens can't be the actor's; `size` is the actor's vocabulary. */
export async function requireOneVocabulary(
  size: number,
  roles: readonly RoleSpec[],
): Promise<void> {
  for (const { role, key, options, isCritic } of roles) {
    const { vocabSize } = await roleConfig(options, key, isCritic);
    if (vocabSize !== size)
      throw new ConfigError(
        `${role} has a vocabulary of ${vocabSize}, the actor of ${size}; all models must share one tokenizer`,
      );
  }
}
