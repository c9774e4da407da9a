/**
 * Splits demands over the ranks that can serve them so that the largest load is the least possible: a binary search
 * over that load, each step a maximum flow (demand → rank → sink; Dinic 1970, here by breadth-first augmenting paths,
 * since there are few demands and ranks). Integers in, integers out, the same on every rank.
 */

interface Demand {
  /** Elements. */
  readonly size: number;
  /** Who can serve it, at least one. */
  readonly ranks: readonly number[];
}

/** Elements of each demand by rank; they add up to the demand. */
export function balance(demands: readonly Demand[]): Map<number, number>[] {
  const ranks = [...new Set(demands.flatMap((d) => d.ranks))].sort((a, b) => a - b);
  const total = demands.reduce((n, d) => n + d.size, 0);
  if (total === 0) return demands.map(() => new Map<number, number>());
  let low = Math.ceil(total / ranks.length);
  let high = total;
  let best: Map<number, number>[] | undefined;
  while (low < high) {
    const limit = Math.floor((low + high) / 2);
    const shares = flow(demands, limit);
    if (shares) {
      high = limit;
      best = shares;
    } else low = limit + 1;
  }
  return best ?? flow(demands, high)!;
}

/** Shares in which no rank serves more than `limit`, if there are any. */
function flow(demands: readonly Demand[], limit: number): Map<number, number>[] | undefined {
  const shares = demands.map(() => new Map<number, number>());
  const loads = new Map<number, number>();
  // Most of it is placed at once, evenly; paths through other demands do the rest.
  for (const [d, { size, ranks }] of demands.entries()) {
    let left = size;
    const order = [...ranks].sort((a, b) => (loads.get(a) ?? 0) - (loads.get(b) ?? 0) || a - b);
    order.forEach((rank, i) => {
      const room = limit - (loads.get(rank) ?? 0);
      const n = Math.min(Math.ceil(left / (order.length - i)), room);
      if (n <= 0) return;
      shares[d]!.set(rank, n);
      loads.set(rank, (loads.get(rank) ?? 0) + n);
      left -= n;
    });
    while (left > 0) {
      const moved = augment(demands, shares, loads, d, left, limit);
      if (moved === 0) return undefined;
      left -= moved;
    }
  }
  return shares;
}

/** How a rank was reached: `demand` can go there from rank `via`, where it has a share (undefined: it is the one to place). */
interface Reached {
  readonly demand: number;
  readonly via: number | undefined;
}

/** Finds room for up to `want` of demand `from`, moving others' shares along a path; returns how much it placed. */
function augment(
  demands: readonly Demand[],
  shares: readonly Map<number, number>[],
  loads: Map<number, number>,
  from: number,
  want: number,
  limit: number,
): number {
  const reached = new Map<number, Reached>();
  const queue: number[] = [];
  const visit = (demand: number, via: number | undefined) => {
    for (const rank of demands[demand]!.ranks)
      if (!reached.has(rank)) {
        reached.set(rank, { demand, via });
        queue.push(rank);
      }
  };
  visit(from, undefined);
  const seen = new Set([from]);
  for (const rank of queue) {
    const room = limit - (loads.get(rank) ?? 0);
    if (room > 0) {
      let amount = Math.min(want, room);
      for (let r: number | undefined = rank; r !== undefined;) {
        const { demand, via }: Reached = reached.get(r)!;
        if (via !== undefined) amount = Math.min(amount, shares[demand]!.get(via)!);
        r = via;
      }
      for (let r: number | undefined = rank; r !== undefined;) {
        const { demand, via }: Reached = reached.get(r)!;
        add(shares[demand]!, r, amount);
        if (via !== undefined) add(shares[demand]!, via, -amount);
        r = via;
      }
      add(loads, rank, amount);
      return amount;
    }
    shares.forEach((share, demand) => {
      if (seen.has(demand) || (share.get(rank) ?? 0) === 0) return;
      seen.add(demand);
      visit(demand, rank);
    });
  }
  return 0;
}

function add(map: Map<number, number>, key: number, n: number): void {
  map.set(key, (map.get(key) ?? 0) + n);
}
