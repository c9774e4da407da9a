import { modelKey, SequenceSample } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { shape } from './__fixtures__/configs.js';
import { expectIds, expectOneOrder, expectPulls } from './__fixtures__/expectations.js';
import { fakeCluster, type FakeCall } from './__fixtures__/fake-cluster.js';
import { prompts } from './__fixtures__/fake-models.js';
import { heuristicAllocations } from './allocation/heuristic.js';
import { clusterSize, makeCluster, parseMesh } from './allocation/mesh.js';
import { parseParallelism } from './allocation/mode.js';
import { resolveAllocations, type Allocations } from './allocation/placement.js';
import { ppoMFCs, type PpoOptions } from './algorithms/ppo.js';
import { sftMFCs } from './algorithms/sft.js';
import { expControlSchema } from './exp-control.js';
import { buildGraph } from './graph.js';
import { Master, type MasterOptions } from './master.js';
import type { StepRecord } from './step-run.js';

const weights = { actor: 1, critic: 2, ref: 3, reward: 4 };
const node8 = makeCluster({ nNodes: 1, nGpusPerNode: 8 });
const names = ['actor_gen', 'rew_inf', 'ref_inf', 'critic_inf', 'actor_train', 'critic_train'];

/** `NODE01:0,1 d2m1p1`, or `d8m1p1` for the whole cluster; one for all MFCs or by name. */
function allocate(spec: string | Readonly<Record<string, string>>, cluster = node8): Allocations {
  const of = (text: string) => {
    const words = text.split(' ');
    return {
      mesh: parseMesh(words.length > 1 ? words[0]! : null, cluster),
      parallel: parseParallelism(words.at(-1)!),
    };
  };
  return Object.fromEntries(names.map((n) => [n, of(typeof spec === 'string' ? spec : spec[n]!)]));
}

interface Setup {
  readonly cluster?: typeof node8;
  readonly allocations: Allocations;
  readonly ppo?: Partial<PpoOptions>;
  readonly control?: Record<string, unknown>;
  readonly master?: Partial<MasterOptions>;
}

function ppoRun({ cluster = node8, allocations, ppo, control, master: extra }: Setup) {
  const algorithm = ppoMFCs({ nSeqs: 8, logitsMask: false, ...ppo });
  const { mfcs, placements } = resolveAllocations(algorithm, allocations, cluster);
  const fake = fakeCluster({ placements, items: prompts(24), weights });
  const master = new Master({
    graph: buildGraph(mfcs, { datasetKeys: ['packed_prompts'] }),
    stream: fake.stream,
    placements,
    configs: { actor: shape(), critic: shape({ isCritic: true }) },
    control: expControlSchema.parse(control ?? { total_train_epochs: 2 }),
    ...extra,
  });
  /** By role: the weight that all its holders agree on. */
  const weightsNow = () =>
    Object.fromEntries(
      Object.keys(weights).map((role) => {
        const held = placements.filter((p) => p.model.role === role && p.holdsParameters);
        const all = held.flatMap((p) =>
          p.ranks.map((r) => fake.models[r]!.get(modelKey(p.model))!.engine.weight),
        );
        expect(new Set(all).size, `${role}: ${all.join(', ')}`).toBe(1);
        return [role, all[0]];
      }),
    );
  return { master, fake, mfcs, placements, weightsNow };
}

async function collect(master: Master): Promise<StepRecord[]> {
  const records: StepRecord[] = [];
  for await (const r of master.run()) records.push(r);
  return records;
}
/** What no layout may change. */
const essence = (r: StepRecord) => ({
  step: r.step,
  epoch: r.epoch,
  ids: r.ids,
  tokens: r.tokens,
  flops: r.flops,
  stats: r.stats,
});

const mixed = {
  actor_gen: 'd8m1p1',
  rew_inf: 'NODE01:4,5 d2m1p1',
  ref_inf: 'NODE01:5,6,7 d3m1p1',
  critic_inf: 'NODE01:1,2,3 d1m3p1',
  actor_train: 'NODE01:0,1 d2m1p1',
  critic_train: 'NODE01:2,3 d1m1p2',
};
const layouts: Readonly<Record<string, Setup>> = {
  'one rank': {
    cluster: makeCluster({ nNodes: 1, nGpusPerNode: 1 }),
    allocations: allocate('d1m1p1', makeCluster({ nNodes: 1, nGpusPerNode: 1 })),
  },
  d2m2p2: { allocations: allocate('d2m2p2') },
  d8: { allocations: allocate('d8m1p1') },
  mixed: { allocations: allocate(mixed) },
  ...Object.fromEntries(
    (
      [
        [1, 2],
        [1, 3],
        [1, 6],
        [2, 4],
        [3, 2],
      ] as const
    ).map(([nNodes, nGpusPerNode]) => {
      const cluster = makeCluster({ nNodes, nGpusPerNode });
      const mfcs = ppoMFCs({ nSeqs: 8, logitsMask: false });
      const configs = {
        actor: shape(),
        ref: shape(),
        critic: shape({ isCritic: true }),
        reward: shape({ isCritic: true }),
      };
      const workload = { promptTokens: 4, newTokens: 4 };
      const allocations = heuristicAllocations({ mfcs, cluster, configs, workload });
      return [`heuristic ${nNodes}x${nGpusPerNode}`, { cluster, allocations }];
    }),
  ),
};
const expected = (async () => {
  const run = ppoRun(layouts['one rank']!);
  return { records: (await collect(run.master)).map(essence), weights: run.weightsNow() };
})();

describe('PPO over placements', () => {
  it.each(Object.keys(layouts))('%s: the numbers of one rank', async (name) => {
    const setup = layouts[name]!;
    const { master, fake, mfcs, placements, weightsNow } = ppoRun(setup);
    const records = await collect(master);
    const one = await expected;
    expect(records.map(essence)).toEqual(one.records);
    expect(weightsNow()).toEqual(one.weights);
    expect(Object.keys(records[0]!.flops).sort()).toEqual([
      'actor_gen',
      'actor_train',
      'critic_inf',
      'critic_train',
    ]);
    expect([...fake.workers.values()].every((w) => w.storedItems === 0)).toBe(true);
    for (const p of placements.filter((x) => !x.holdsParameters))
      for (const r of p.ranks)
        expect(fake.models[r]!.get(modelKey(p.model))!.engine.weight).toBeNaN();

    expectIds(fake.calls, mfcs, records);
    expectOneOrder(fake.meetings.log);
    expectPulls(fake.pulls, mfcs, placements);
    for (const r of records) {
      expect(new Set(r.intervals.map((i) => i.worker)).size).toBe(
        clusterSize(setup.cluster ?? node8),
      );
      for (const i of r.intervals) expect(i.end).toBeGreaterThanOrEqual(i.begin);
    }
  });

  it('moves the average to a reference that lives elsewhere', async () => {
    const ppo = { refEmaEta: 0.25 };
    const one = ppoRun({ ...layouts['one rank']!, ppo });
    const records = (await collect(one.master)).map(essence);
    const run = ppoRun({ allocations: allocate(mixed), ppo });
    expect((await collect(run.master)).map(essence)).toEqual(records);
    expect(run.weightsNow()).toEqual(one.weightsNow());
    expect(one.weightsNow().ref).not.toBe(weights.ref);
    expectOneOrder(run.fake.meetings.log);
  });

  it('goes on exactly from a state, generation seeds included', async () => {
    const setup = {
      allocations: allocate(mixed),
      control: { save_freq_steps: 1, total_train_epochs: 2 },
    };
    const first = ppoRun(setup);
    const got: StepRecord[] = [];
    let saved = '';
    let engines: number[][] = [];
    for await (const r of first.master.run()) {
      got.push(r);
      saved = JSON.stringify(await first.master.state());
      engines = first.fake.models.map((m) => [...m.values()].map((x) => x.engine.weight));
      if (got.length === 4) break;
    }
    const second = ppoRun(setup);
    await second.master.restore(JSON.parse(saved));
    second.fake.models.forEach((m, r) => {
      [...m.values()].forEach((x, i) => (x.engine.weight = engines[r]![i]!));
    });
    const rest = await collect(second.master);
    expect([...got, ...rest].map(essence)).toEqual((await expected).records);
  });

  it('runs disjoint meshes at the same time', async () => {
    const { master, fake } = ppoRun({ allocations: allocate(mixed) });
    // Both trainings, and the inferences of reward and critic, begin before either can end.
    fake.during = async ({ rank, method, model }) => {
      if (method === 'trainStep') await fake.meetings.meet('both train', [0, 1, 2, 3], rank, null);
      if (model === 'reward@0' || model === 'critic@0')
        await fake.meetings.meet('both infer', [1, 2, 3, 4, 5], rank, null);
    };
    expect((await collect(master)).map(essence)).toEqual((await expected).records);
  });

  it('queues overlapping meshes in one order: a rank never has two calls', async () => {
    const { master, fake } = ppoRun({ allocations: allocate(mixed), master: { readAhead: 1 } });
    await collect(master);
    for (let rank = 0; rank < 8; rank++) {
      const phases = fake.calls.filter((c) => c.rank === rank).map((c) => c.phase);
      expect(phases).toEqual(phases.map((_, i) => (i % 2 === 0 ? 'begin' : 'end')));
    }
    expectOneOrder(fake.meetings.log);
  });

  it('reads ahead at most one step', async () => {
    const { master, fake } = ppoRun({
      allocations: allocate({ ...mixed, actor_gen: 'NODE01:6,7 d2m1p1' }),
      master: { readAhead: 1 },
    });
    await collect(master);
    const at = (model: string, method: string, phase: FakeCall['phase']) =>
      fake.calls.flatMap((c, i) =>
        c.model === model && c.method === method && c.phase === phase && [0, 6].includes(c.rank)
          ? [i]
          : [],
      );
    const starts = at('actor@0', 'generate', 'begin');
    const ends = at('actor@1', 'trainStep', 'end');
    expect(starts).toHaveLength(6);
    expect(ends).toHaveLength(6);
    // Ahead within an epoch of three steps, never over its end, never by two.
    expect(starts[1]).toBeLessThan(ends[0]!);
    expect(starts[3]).toBeGreaterThan(ends[2]!);
    for (let i = 2; i < 6; i++) expect(starts[i]).toBeGreaterThan(ends[i - 2]!);
  });

  it('tells of the first failing rank at once, and says what failed', async () => {
    const failures: string[] = [];
    let letGo: () => void = () => undefined;
    const told = new Promise<void>((resolve) => (letGo = resolve));
    const { master, fake } = ppoRun({
      allocations: allocate('d2m2p2'),
      master: {
        onFailure: (e) => {
          failures.push(e.message);
          letGo();
        },
      },
    });
    fake.during = async ({ rank, method }) => {
      if (method !== 'trainStep') return;
      if (rank === 3) throw new Error('rank 3 fell over');
      // The peers hang until the run is told.
      await told;
      throw new Error('peer is gone');
    };
    await expect(collect(master)).rejects.toThrow(
      /MFC 'actor_train'.*failed at step 0.*rank 3 fell over/,
    );
    expect(failures[0]).toMatch('rank 3 fell over');
  });

  it('refuses batches that a layout cannot share', () => {
    expect(() => ppoRun({ allocations: allocate('d8m1p1'), ppo: { nSeqs: 4 } })).toThrow(
      /takes 4 sequences, 8 data-parallel ranks × 1 microbatches need 8/,
    );
    const odd = { ...mixed, actor_gen: 'NODE01:0,1,2 d3m1p1' };
    expect(() => ppoRun({ allocations: allocate(odd) })).toThrow(
      /MFC 'actor_gen' gives .* equally many sequences: 8 do not divide over 3/,
    );
    expect(() =>
      ppoRun({ allocations: allocate('d8m1p1'), ppo: { nMbs: { rew_inf: 2 } } }),
    ).toThrow(/MFC 'rew_inf' takes 8 sequences, 8 data-parallel ranks × 2 microbatches need 16/);
  });
});

it('saves on all ranks of the replica that trains', async () => {
  const { master, fake } = ppoRun({ allocations: allocate(mixed) });
  await collect(master);
  await master.save((m) => `/to/${m.role}`);
  expect(fake.saved.sort()).toEqual([
    'actor@1 0 /to/actor',
    'actor@1 1 /to/actor',
    'critic@1 2 /to/critic',
    'critic@1 3 /to/critic',
  ]);
  await master.exit();
});

it('evaluates on the ranks of the replica that trains, each data-parallel rank its part', async () => {
  const pairs = Array.from({ length: 11 }, (_, i) =>
    SequenceSample.fromDefault({
      ids: [`s${i}`],
      seqlens: [i + 2],
      data: {
        packed_input_ids: new Int32Array(i + 2).fill(i),
        prompt_mask: new Uint8Array(i + 2),
      },
    }),
  );
  const allocation = {
    mesh: parseMesh('NODE01:2,3,4,5', node8),
    parallel: parseParallelism('d2m2p1'),
  };
  const algorithm = sftMFCs({ nSeqs: 4 });
  const { mfcs, placements } = resolveAllocations(algorithm, { trainDefault: allocation }, node8);
  const run = (evalItems: SequenceSample[]) => {
    const fake = fakeCluster({ placements, items: pairs, evalItems, weights: { default: 1 } });
    const master = new Master({
      graph: buildGraph(mfcs, { datasetKeys: ['packed_input_ids', 'prompt_mask'] }),
      stream: fake.stream,
      placements,
      control: expControlSchema.parse({ eval_freq_steps: 1 }),
    });
    return { fake, records: collect(master) };
  };
  // The last batch has fewer items than there are ranks: it joins the one before.
  const batches = [pairs.slice(0, 4), pairs.slice(4, 8), pairs.slice(8, 9)];
  const { fake, records } = run(batches.map((b) => SequenceSample.gather(b)));
  for (const r of await records) expect(r.evalStats!['default@0']!.items_sum).toBe(9);
  const evaluated = fake.calls.filter((c) => c.method === 'evaluate' && c.phase === 'end');
  expect(new Set(evaluated.map((c) => c.rank))).toEqual(new Set([2, 3, 4, 5]));
  expect(evaluated.filter((c) => c.rank === 2)).toHaveLength(4);
  await expect(run(pairs.slice(0, 1)).records).rejects.toThrow(
    /evaluation data has 1 items for 2 data-parallel ranks/,
  );
});
