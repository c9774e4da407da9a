/** The nearest known name to one that is not: Damerau–Levenshtein (adjacent swaps count once) over whole names and last parts. */

/** Edits (insert, delete, replace, swap of neighbours) from `a` to `b`. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let d = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        d = Math.min(d, before[j - 2]! + 1);
      next.push(d);
    }
    before = row;
    row = next;
  }
  return row[b.length]!;
}

/** True when the dotted parts of `name` all occur in `candidate`, in order: `ppo.top_p` in `ppo.gen.top_p`. */
function abbreviates(name: string, candidate: string): boolean {
  const parts = candidate.split('.');
  let from = 0;
  return name.split('.').every((part) => {
    const at = parts.indexOf(part, from);
    from = at + 1;
    return at >= 0;
  });
}

/**
 * The nearest of `known`, or undefined when nothing is near. A name with groups left out (`lr` for
 * `model.optimizer.lr`) counts as one edit away, the shortest first.
 */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let distance = Infinity;
  for (const candidate of known) {
    const d = abbreviates(name, candidate)
      ? 1 + candidate.length / 1000
      : editDistance(name, candidate);
    if (d < distance) [best, distance] = [candidate, d];
  }
  return distance <= Math.max(2, Math.floor(name.length / 3)) ? best : undefined;
}

/** `; did you mean 'x'?` or nothing. */
export function didYouMean(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? '' : `; did you mean '${near}'?`;
}
