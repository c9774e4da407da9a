/**
 * The exact distribution that sampling draws from, by sorting, in f64. Top-p as defined by removal: in ascending order,
 * tokens whose inclusive cumulative probability (with all their ties) is at most 1 − p go, the largest stays.
 */
export interface Warpers {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  /** Column that must not be drawn, or −1. */
  readonly banned: number;
}

/** Kept columns, their probabilities, and the cumulative values by which top-p decided (distance to 1 − p). */
export function sampleReference(logits: ArrayLike<number>, w: Warpers) {
  const n = logits.length;
  const columns = Array.from({ length: n }, (_, j) => j).filter((j) => j !== w.banned);
  const top = Math.max(...columns.map((j) => logits[j]! / w.temperature));
  const weight = (j: number) => Math.exp(logits[j]! / w.temperature - top);
  const total = columns.reduce((a, j) => a + weight(j), 0);
  const ascending = [...columns].sort((a, b) => logits[a]! - logits[b]!);
  const kth = logits[ascending[Math.max(0, ascending.length - w.topK)]!]!;
  const kept = new Array<boolean>(n).fill(false);
  const margin = new Float64Array(n).fill(Infinity);
  let cumulative = 0;
  for (let i = 0; i < ascending.length;) {
    let end = i;
    while (end < ascending.length && logits[ascending[end]!] === logits[ascending[i]!])
      cumulative += weight(ascending[end++]!) / total;
    for (; i < end; i++) {
      const j = ascending[i]!;
      kept[j] =
        logits[j]! >= kth && (w.topP >= 1 || cumulative > 1 - w.topP || end === ascending.length);
      if (w.topP < 1) margin[j] = cumulative - (1 - w.topP);
    }
  }
  const sum = columns.reduce((a, j) => a + (kept[j] ? weight(j) : 0), 0);
  const probs = Float64Array.from({ length: n }, (_, j) => (kept[j] ? weight(j) / sum : 0));
  return { kept, probs, margin };
}

/** Philox2x32-10 (Salmon et al. 2011): both words. */
export function philox(counter: readonly [number, number], key: number): [number, number] {
  let [c0, c1] = [BigInt(counter[0]), BigInt(counter[1])];
  let k = BigInt(key);
  const mask = 0xffffffffn;
  for (let i = 0; i < 10; i++) {
    const product = 0xd256d193n * c0;
    [c0, c1] = [(product >> 32n) ^ k ^ c1, product & mask];
    k = (k + 0x9e3779b9n) & mask;
  }
  return [Number(c0), Number(c1)];
}
