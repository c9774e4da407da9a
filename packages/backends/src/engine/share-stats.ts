/** Stats of the last pipeline stage, told to the others. */
import type { Communicator, Stats } from '@realhf/api';

/** Collective over the pipeline; what the other stages pass in is ignored. Values arrive exactly, NaN included. */
export async function shareStats(pp: Communicator, stats: Stats): Promise<Stats> {
  const last = pp.size - 1;
  const text = JSON.stringify(Object.entries(stats).map(([name, value]) => [name, String(value)]));
  const length = Uint32Array.of(text.length);
  await pp.broadcast(length, last);
  const codes =
    pp.rank === last ? Uint32Array.from(text, (c) => c.charCodeAt(0)) : new Uint32Array(length[0]!);
  await pp.broadcast(codes, last);
  const entries = JSON.parse(Array.from(codes, (c) => String.fromCharCode(c)).join('')) as [
    string,
    string,
  ][];
  return Object.fromEntries(entries.map(([name, value]) => [name, Number(value)]));
}
