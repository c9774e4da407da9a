/** What a GPU check proved: a hash of the text and the constants of kernels, which a test compares with today's. */
import { kernels } from '../webgpu/kernel.js';

/** SHA-256 over all kernels whose name starts with `prefix` (not of their emulations), which must have been imported. */
export async function wgslHash(prefix: string): Promise<string> {
  const proved = kernels
    .filter((k) => k.name.startsWith(prefix) && !k.name.includes('emulated'))
    .map((k) => [k.name, k.entry, k.source, JSON.stringify(k.variants)].join('\n'))
    .sort();
  const bytes = new TextEncoder().encode(proved.join('\n'));
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return [...hash].map((b) => b.toString(16).padStart(2, '0')).join('');
}

/** What a GPU check prints last, to be kept beside it. */
export interface GpuProof {
  readonly date: string;
  readonly adapter: string;
  readonly driver: string;
  readonly wgsl: string;
  readonly failures: number;
  /** What was checked, with its worst errors. */
  readonly checked: readonly string[];
}
