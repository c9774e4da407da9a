/**
 * What ranks tell each other about a step besides tensors: stats by name (ranks may know different names), results of the
 * last pipeline stage, and whether the stages of a pipeline look at the same microbatches.
 */
import { DataError, type Communicator, type Stats } from '@realhf/api';

const codesOf = (text: string) => Uint32Array.from(text, (c) => c.charCodeAt(0));
const textOf = (codes: Uint32Array) => Array.from(codes, (c) => String.fromCharCode(c)).join('');

/** Collective: a text of every rank, by rank. */
async function gatherTexts(comm: Communicator, text: string): Promise<string[]> {
  const lengths = new Uint32Array(comm.size);
  await comm.allGather(Uint32Array.of(text.length), lengths);
  const width = Math.max(...lengths);
  const mine = new Uint32Array(width);
  mine.set(codesOf(text));
  const all = new Uint32Array(width * comm.size);
  await comm.allGather(mine, all);
  return Array.from(lengths, (n, r) => textOf(all.subarray(r * width, r * width + n)));
}

// As strings: JSON knows no NaN and no Infinity.
const pack = (rows: readonly (readonly [string, ...number[]])[]) =>
  JSON.stringify(rows.map((row) => row.map(String)));
const unpack = (text: string) =>
  (JSON.parse(text) as string[][]).map(([name, ...values]) => [name!, values.map(Number)] as const);

export interface SumAndCount {
  readonly sum: number;
  readonly count: number;
}

/** Collective: sums and counts of all ranks added in rank order, under every name that some rank has. */
export async function addOverRanks(
  comm: Communicator,
  mine: ReadonlyMap<string, SumAndCount>,
): Promise<Map<string, SumAndCount>> {
  const texts = await gatherTexts(comm, pack([...mine].map(([n, s]) => [n, s.sum, s.count])));
  const out = new Map<string, SumAndCount>();
  for (const text of texts)
    for (const [name, [sum = 0, count = 0]] of unpack(text)) {
      const old = out.get(name) ?? { sum: 0, count: 0 };
      out.set(name, { sum: old.sum + sum, count: old.count + count });
    }
  return new Map([...out].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Collective over the pipeline: stats of the last stage; what the others pass in is ignored. Exact, NaN included. */
export async function statsOfLastStage(pp: Communicator, stats: Stats): Promise<Stats> {
  const last = pp.size - 1;
  const mine = codesOf(pack(Object.entries(stats)));
  const length = Uint32Array.of(mine.length);
  await pp.broadcast(length, last);
  const codes = pp.rank === last ? mine : new Uint32Array(length[0]!);
  await pp.broadcast(codes, last);
  return Object.fromEntries(unpack(textOf(codes)).map(([name, [value]]) => [name, value!]));
}

/** Collective over the pipeline: numbers of the last stage; what the others pass in is ignored. */
export async function valuesOfLastStage(
  pp: Communicator,
  values: Float32Array,
): Promise<Float32Array> {
  const last = pp.size - 1;
  const length = Uint32Array.of(values.length);
  await pp.broadcast(length, last);
  const out = pp.rank === last ? values : new Float32Array(length[0]!);
  await pp.broadcast(out, last);
  return out;
}

/** Collective over the pipeline. Throws DataError on every stage if the tokens of the microbatches differ between stages. */
export async function checkMicrobatches(
  pp: Communicator,
  tokens: readonly number[],
): Promise<void> {
  const texts = await gatherTexts(pp, tokens.join(' '));
  const odd = texts.findIndex((t) => t !== texts[0]);
  if (odd > 0)
    throw new DataError(
      `pipeline stage 0 has microbatches of [${texts[0]!}] tokens, stage ${odd} of [${texts[odd]!}]; all stages need the same sequences and the same limits`,
    );
}
