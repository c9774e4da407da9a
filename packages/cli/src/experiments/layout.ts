/** One device, so far: layouts that need more are refused where they are asked for. */
import { ConfigError } from '@realhf/api';

import type { MfcOptions } from '../options/schemas/mfc.js';

export function requireOneDevice(calls: Readonly<Record<string, MfcOptions>>): void {
  for (const [name, { parallel }] of Object.entries(calls)) {
    for (const [key, size] of Object.entries(parallel)) {
      if (size === 1 || size === false) continue;
      throw new ConfigError(
        `${name}.parallel.${key}=${String(size)} asks for several devices; this version runs on one: leave it out`,
      );
    }
  }
}

/** `n_mbs` of a call as MFCDef has it. */
export function microbatchesOf(call: MfcOptions): { nMbs?: number } {
  return call.n_mbs === null ? {} : { nMbs: call.n_mbs };
}
