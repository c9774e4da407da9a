/**
 * Reallocation of a model between layouts of all ranks over NCCL: every element of the target is checked, then timed
 * beside the same messages without kernels. On one rank the model goes to itself, through NCCL all the same.
 */
import type { Parallelism, ParallelGroups, Tensor, TensorCommunicator } from '@realhf/api';
import { planRealloc, ReallocSession, worldSize, type ReallocPlan } from '@realhf/comm';
import { ReaLModel, replicaMaps } from '@realhf/model';

import { layoutOf, modelOf, placeOf, runRank, seconds, type Rank } from './rank.js';

/** Source, target, first rank of the target. */
type Pair = readonly [string, string, number];

function pairsOf(n: number): Pair[] {
  if (n === 1) return [['d1m1p1', 'd1m1p1', 1]];
  const all = [`d${n}m1p1`, `d1m${n}p1`, `d1m1p${n}`];
  return [
    ...all.flatMap((a) => all.filter((b) => b !== a).map((b): Pair => [a, b, 0])),
    ['d1m1p1', 'd1m1p1', 1],
    ['d1m1p1', `d${n}m1p1`, 0],
  ];
}

/** A pair of ends in one process: a send goes with its receive, as NCCL wants it of messages to oneself. */
function selfEnds(comm: TensorCommunicator): [TensorCommunicator, TensorCommunicator] {
  const sends: { t: Tensor; done: (sent: Promise<void>) => void }[] = [];
  const waiting: ((s: (typeof sends)[number]) => void)[] = [];
  const refuse = () => Promise.reject(new Error('messages only'));
  const common = {
    rank: 0,
    size: 1,
    broadcast: refuse,
    allReduce: refuse,
    allGather: refuse,
    reduceScatter: refuse,
    send: refuse,
    recv: refuse,
  };
  return [
    {
      ...common,
      send: (_, t) =>
        new Promise((done) => {
          const send = { t, done };
          const next = waiting.shift();
          if (next) next(send);
          else sends.push(send);
        }),
    },
    {
      ...common,
      async recv(_, into) {
        const { t, done } =
          sends.shift() ?? (await new Promise<(typeof sends)[number]>((r) => waiting.push(r)));
        const sent = comm.send(0, t);
        const got = comm.recv(0, into);
        done(sent);
        await Promise.all([sent, got]);
      },
    },
  ];
}

/** The messages of a plan and nothing else, `depth` of them at once. */
async function plainCopy(
  { ops }: Rank,
  plan: ReallocPlan,
  rank: number,
  comm: TensorCommunicator,
): Promise<void> {
  const mine = plan.transfers.filter((t) => t.from === rank || t.to.includes(rank));
  const room = Array.from({ length: 4 }, () =>
    ops.empty([Math.max(1, ...mine.map((t) => t.length))]),
  );
  const underWay: Promise<void>[] = [];
  for (const [i, { from, to, length }] of mine.entries()) {
    if (underWay.length === 3) await underWay.shift();
    const t = ops.view(room[i % 4]!, 0, [length]);
    const at = to.indexOf(rank);
    const next = to[at + 1];
    if (at >= 0 && next !== undefined) {
      await Promise.all(underWay.splice(0));
      await comm.recv(to[at - 1] ?? from, t);
      await comm.send(next, t);
    } else underWay.push(at < 0 ? comm.send(to[0]!, t) : comm.recv(to[at - 1] ?? from, t));
  }
  await Promise.all(underWay);
  ops.free(...room);
}

/** Segments of which a word differs from those of a model that was filled in the layout. */
async function wrongWords(
  { ops }: Rank,
  target: readonly Tensor[],
  want: ReaLModel,
): Promise<number> {
  let wrong = 0;
  for (const [i, t] of target.entries()) {
    const part = 2 ** 26;
    for (let at = 0; at < t.size; at += part) {
      const n = Math.min(part, t.size - at);
      const [a, b] = [await ops.read(t, at, n), await ops.read(want.params[i]!, at, n)];
      for (let k = 0; k < n; k++) if (a[k] !== b[k]) wrong++;
    }
  }
  return wrong;
}

const repeat = Number(process.env.REPEAT ?? 5);
/** Of a message. */
const maxElements = Number(process.env.MESSAGE_MIB ?? 64) * 2 ** 18;

await runRank(async (rank) => {
  const { ops, tensors, world, say, config, size } = rank;
  const self = size === 1;
  if (!tensors) throw new Error('NCCL is needed');
  say('from → to | MB over the link | MB kept | ms | GB/s | messages alone GB/s | of it');
  /** Made once for a layout. */
  const models = new Map<string, ReaLModel>();
  const filled = (name: string, groups: ParallelGroups) => {
    const model = models.get(name) ?? modelOf(rank, groups);
    models.set(name, model);
    return model;
  };
  let wrong = 0;
  for (const [a, b, first] of pairsOf(size)) {
    const [from, to] = [layoutOf(a), layoutOf(b)];
    const place = (layout: Parallelism, shift: number, index = rank.rank - shift) =>
      index >= 0 && index < worldSize(layout) ? placeOf(index, layout) : undefined;
    const plan = planRealloc(
      replicaMaps(config, from, ops.maxTensorBytes),
      replicaMaps(config, to, ops.maxTensorBytes),
      { maxElements, targetRanks: Array.from({ length: worldSize(to) }, (_, i) => first + i) },
    );
    const here = place(from, 0);
    const there = self ? placeOf(0, to) : place(to, first);
    const source = here && filled(a, here);
    const want = there && filled(b, there);
    const target = there && new ReaLModel({ ops, config, groups: there });
    for (const p of target?.params ?? []) ops.fill(p, NaN);
    const ends = self ? selfEnds(tensors) : [tensors];
    const sessions = ends.map(
      (end, i) => new ReallocSession({ plan, rank: rank.rank + i, ops, tensors: end }),
    );
    const run = () =>
      Promise.all(
        sessions.map((s, i) =>
          s.run({
            ...(source && (!self || i === 0) ? { source: source.params } : {}),
            ...(target && (!self || i === 1) ? { target: target.params } : {}),
          }),
        ),
      );
    await run();
    await ops.sync();
    if (target && want) wrong += await wrongWords(rank, target.params, want);
    await world.barrier();
    const timed = (body: () => Promise<unknown>) =>
      seconds(repeat, async () => {
        await body();
        await ops.sync();
        await world.barrier();
      });
    const s = await timed(run);
    const plain = await timed(() =>
      Promise.all(ends.map((end, i) => plainCopy(rank, plan, rank.rank + i, end))),
    );
    const bytes = plan.moved * 4;
    say(
      [
        `${a} → ${b}${first > 0 ? ` on rank ${first}` : ''}`,
        (bytes / 1e6).toFixed(0),
        ((plan.copied * 4) / 1e6).toFixed(0),
        (s * 1000).toFixed(1),
        (bytes / s / 1e9).toFixed(1),
        (bytes / plain / 1e9).toFixed(1),
        `${((100 * plain) / s).toFixed(0)} %`,
      ].join(' | '),
    );
    for (const x of sessions) x.free();
    target?.free();
  }
  const bad = Float32Array.of(wrong);
  await world.allReduce(bad);
  say(bad[0] === 0 ? 'reallocations: all right' : `reallocations: ${bad[0]!} words WRONG`);
  return bad[0] === 0;
});
