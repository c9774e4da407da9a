/** Draws that depend on a few whole numbers alone (seed, epoch, index): nothing to save for a resume. */

/** Finalizer of MurmurHash3 (Appleby): every input bit moves every output bit. */
function mix(x: number): number {
  let h = x | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Uniform in [0, 1), the n-th of the stream that `key` names. */
export function uniform(key: readonly number[], n: number): number {
  let h = 0x9e3779b9;
  for (const k of [...key, n]) h = mix(Math.imul(h, 31) + k + 0x7f4a7c15);
  return h / 2 ** 32;
}

/** min(count, total) of 0…total−1 without replacement, ascending. */
export function choose(total: number, count: number, key: readonly number[]): number[] {
  const all = Array.from({ length: total }, (_, i) => i);
  if (count >= total) return all;
  for (let i = 0; i < count; i++) {
    const j = i + Math.floor(uniform(key, i) * (total - i));
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all.slice(0, count).sort((a, b) => a - b);
}
