/**
 * CutSearch decides whether k contiguous parts with every sum in [low, high] exist, and where to cut. Per number of
 * parts it keeps the sorted list of reachable cuts; as sizes are not negative, the cuts one part further form a
 * window that only moves right. Greedy fills from the end leave few cuts to look at: the cost is their number,
 * usually a handful per part, at worst n·k.
 */

export class CutSearch {
  /** After a failed `reach(low, high)`: every high' below it fails too, with any low' ≥ low. */
  nextHigh = Infinity;
  private readonly n: number;
  /** Reachable cuts of j parts: cuts[from[j] … from[j + 1]). */
  private cuts = new Int32Array(1024);
  private readonly from: Int32Array;
  /** Latest cut after j parts that leaves every later part a sum ≥ low; earliest that leaves them ≤ high. */
  private readonly latest: Int32Array;
  private readonly earliest: Int32Array;
  private readonly prefix: Float64Array;
  private readonly k: number;
  private readonly minSize: number;

  /** `prefix` f64 [n + 1]: running totals of n sizes ≥ 0, exact integers; parts have at least `minSize` items. */
  constructor(prefix: Float64Array, k: number, minSize: number) {
    this.prefix = prefix;
    this.k = k;
    this.minSize = minSize;
    this.n = prefix.length - 1;
    this.from = new Int32Array(k + 2);
    this.latest = new Int32Array(k + 1);
    this.earliest = new Int32Array(k + 1);
  }

  /** Are there k parts with sums in [low, high]? */
  reach(low: number, high: number): boolean {
    const { n, k, prefix, from, latest, earliest, minSize } = this;
    this.nextHigh = Infinity;
    if (!this.bound(low, high)) return false;
    let next = this.nextHigh;
    let count = 1;
    this.cuts[0] = 0;
    from[0] = 0;
    from[1] = 1;
    for (let j = 1; j <= k; j++) {
      const first = earliest[j]!;
      const last = latest[j]!;
      if (this.cuts.length < count + n + 1) this.grow(count + n + 1);
      const cuts = this.cuts;
      let lo = first;
      let hi = first - 1;
      let filled = first - 1;
      for (let c = from[j - 1]!; c < from[j]!; c++) {
        const i = cuts[c]!;
        const base = prefix[i]!;
        if (lo < i + minSize) lo = i + minSize;
        while (lo <= last && prefix[lo]! < base + low) lo++;
        while (hi < last && prefix[hi + 1]! <= base + high) hi++;
        const blocked = Math.max(hi + 1, i + minSize);
        if (blocked <= last) next = Math.min(next, prefix[blocked]! - base);
        for (let t = Math.max(lo, filled + 1); t <= hi; t++) cuts[count++] = t;
        if (hi > filled) filled = hi;
        if (lo > last) break;
      }
      from[j + 1] = count;
      if (count === from[j]) {
        this.nextHigh = next;
        return false;
      }
    }
    // latest[k] = earliest[k] = n, so a non-empty last list is [n].
    return true;
  }

  /** After a successful `reach(low, high)`: ends of the k parts; of several answers the one with the earliest last cut, and so on. */
  ends(low: number, high: number): number[] {
    const { k, prefix, from, cuts, minSize } = this;
    const ends = new Array<number>(k);
    let end = this.n;
    for (let j = k; j >= 1; j--) {
      ends[j - 1] = end;
      let c = from[j - 1]!;
      for (; c < from[j]!; c++) {
        const sum = prefix[end]! - prefix[cuts[c]!]!;
        if (sum >= low && sum <= high && end - cuts[c]! >= minSize) break;
      }
      end = cuts[c]!;
    }
    return ends;
  }

  /** Greedy fills from the end; false if they do not come out at 0. */
  private bound(low: number, high: number): boolean {
    const { n, k, prefix, latest, earliest, minSize } = this;
    latest[k] = earliest[k] = n;
    for (let j = k; j >= 1; j--) {
      const end = latest[j]!;
      const cut = Math.min(end - minSize, lastAtMost(prefix, prefix[end]! - low));
      if (cut < (j - 1) * minSize) return false;
      latest[j - 1] = cut;
      const reach = firstAtLeast(prefix, prefix[earliest[j]!]! - high);
      earliest[j - 1] = reach;
      if (reach > 0)
        this.nextHigh = Math.min(this.nextHigh, prefix[earliest[j]!]! - prefix[reach - 1]!);
    }
    return earliest[0] === 0;
  }

  private grow(size: number): void {
    const bigger = new Int32Array(2 * size);
    bigger.set(this.cuts);
    this.cuts = bigger;
  }
}

/** First index whose running total is ≥ x (x ≤ the total). */
function firstAtLeast(prefix: Float64Array, x: number): number {
  let lo = 0;
  let hi = prefix.length - 1;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (prefix[mid]! >= x) hi = mid;
    else lo = mid + 1;
  }
  return lo;
}

/** Last index whose running total is ≤ x; −1 if none. */
function lastAtMost(prefix: Float64Array, x: number): number {
  if (x < 0) return -1;
  let lo = 0;
  let hi = prefix.length - 1;
  while (lo < hi) {
    const mid = (lo + hi + 1) >> 1;
    if (prefix[mid]! <= x) lo = mid;
    else hi = mid - 1;
  }
  return lo;
}
