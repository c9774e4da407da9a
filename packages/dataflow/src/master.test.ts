import { NumericError, SequenceSample, type ModelName } from '@realhf/api';
import { describe, expect, it } from 'vitest';
import { fakeInterfaces, fakeModel, prompts } from './__fixtures__/fake-models.js';
import { ppoMFCs, type PpoOptions } from './algorithms/ppo.js';
import { sftMFCs } from './algorithms/sft.js';
import { ListDataSource } from './data-source.js';
import { expControlSchema } from './exp-control.js';
import { buildGraph } from './graph.js';
import { Master, type MasterOptions } from './master.js';
import type { StepRecord } from './step-run.js';
import { InProcessStream } from './stream.js';
import { ModelWorker, type ModelWorkerOptions } from './worker.js';

interface Setup {
  readonly items?: number;
  readonly control?: Record<string, unknown>;
  readonly ppo?: Partial<PpoOptions>;
  readonly master?: Partial<MasterOptions>;
  readonly worker?: Partial<ModelWorkerOptions>;
  /** Set nSeqs of MFCs by name. */
  readonly sizes?: Readonly<Record<string, number>>;
}

/** The PPO graph on one worker; the clock moves 1 s whenever it is read. */
function ppoRun(setup: Setup = {}) {
  const models = ['actor', 'critic', 'ref', 'reward'].map((r, i) => fakeModel(r, i + 1));
  const fake = fakeInterfaces();
  let now = 0;
  const clock = () => now++;
  const worker = new ModelWorker({
    models,
    interfaces: fake.registry,
    data: new ListDataSource(prompts(setup.items ?? 10), { seed: 7 }),
    clock,
    ...setup.worker,
  });
  const mfcs = ppoMFCs({ nSeqs: 4, logitsMask: true, ...setup.ppo }).map((m) => ({
    ...m,
    nSeqs: setup.sizes?.[m.name] ?? m.nSeqs,
  }));
  const master = new Master({
    graph: buildGraph(mfcs, { datasetKeys: ['packed_prompts'] }),
    stream: new InProcessStream({ w0: worker }),
    control: expControlSchema.parse(setup.control ?? { total_train_epochs: 2 }),
    clock,
    ...setup.master,
  });
  const weights = () => models.map((m) => m.engine.weight);
  const setWeights = (w: readonly number[]) => {
    models.forEach((m, i) => (m.engine.weight = w[i]!));
  };
  return { master, worker, fake, models, weights, setWeights };
}

async function collect(master: Master): Promise<StepRecord[]> {
  const records: StepRecord[] = [];
  for await (const r of master.run()) records.push(r);
  return records;
}
/** What must be equal between two runs: everything but time. */
const timeless = (r: StepRecord) => ({ ...r, seconds: null, stepSeconds: null, intervals: null });
const at = (items: readonly string[], what: string) => items.findIndex((l) => l.startsWith(what));

describe('Master with the six MFCs of PPO', () => {
  it('runs 3 steps in order, drops tensors, and stops after benchmark_steps', async () => {
    const { master, worker, fake } = ppoRun({
      control: { total_train_epochs: 2, benchmark_steps: 3 },
    });
    let step = 0;
    for await (const r of master.run()) {
      expect(worker.storedItems).toBe(0);
      expect(r.step).toBe(step);
      const calls = fake.log.splice(0);
      expect(calls).toHaveLength(6);
      for (const c of calls) expect(c.split(' ').slice(1)).toEqual(r.ids);
      expect(at(calls, 'actor@0.generate')).toBe(0);
      for (const inf of ['reward@0.inf', 'ref@0.inf', 'critic@0.inf']) {
        expect(at(calls, inf)).toBeGreaterThan(0);
        expect(at(calls, inf)).toBeLessThan(at(calls, 'actor@0.trainStep'));
        expect(at(calls, inf)).toBeLessThan(at(calls, 'critic@0.trainStep'));
      }
      expect(Object.keys(r.seconds)).toHaveLength(6);
      expect(r.seconds.actor_gen).toBe(1);
      expect(r.stepSeconds).toBeGreaterThan(6);
      expect(r.stats.actor_train).toMatchObject({ n_seqs_sum: 4 });
      // Prompts plus two tokens each; nothing has a longer key than packed_input_ids.
      expect(r.tokens.actor_gen).toBe(r.tokens.critic_train);
      step += 1;
    }
    expect(step).toBe(3);
  });

  it('wraps epochs: every item at most once in each, the remainder left out with a note', async () => {
    const { master } = ppoRun({ items: 10, control: { total_train_epochs: 3 } });
    expect(await master.initialize()).toEqual({
      stepsPerEpoch: 2,
      totalSteps: 6,
      lastStep: 6,
      droppedPerEpoch: 2,
    });
    const records = await collect(master);
    expect(records.map((r) => [r.epoch, r.epochStep, r.endOfEpoch, r.last])).toEqual([
      [0, 0, false, false],
      [0, 1, true, false],
      [1, 0, false, false],
      [1, 1, true, false],
      [2, 0, false, false],
      [2, 1, true, true],
    ]);
    expect(records.map((r) => r.notes.length)).toEqual([0, 1, 0, 1, 0, 1]);
    expect(records[1]!.notes[0]).toBe('epoch 0 left out 2 items that do not fill a step of 4');
    const epochs = [0, 1, 2].map((e) => records.filter((r) => r.epoch === e).flatMap((r) => r.ids));
    for (const ids of epochs) expect(new Set(ids).size).toBe(8);
    expect(epochs[0]).not.toEqual(epochs[1]);
  });

  it('wraps epochs when the batch size divides the dataset', async () => {
    const { master, models } = ppoRun({ items: 8 });
    const records = await collect(master);
    expect(records.map((r) => r.step)).toEqual([0, 1, 2, 3]);
    expect(records.flatMap((r) => r.notes)).toEqual([]);
    expect(models[0]!.version).toEqual({ epoch: 1, epochStep: 2, globalStep: 4 });
    expect(models[2]!.version.globalStep).toBe(0);
  });

  it.each([0, 1, 2, 3, 4])('resumes after %i steps exactly', async (steps) => {
    const setup: Setup = { items: 10, control: { total_train_epochs: 3, save_freq_steps: 1 } };
    const whole = ppoRun(setup);
    const expected = (await collect(whole.master)).map(timeless);
    const first = ppoRun(setup);
    const got: StepRecord[] = [];
    let saved = JSON.stringify(await first.master.state());
    let weights = first.weights();
    for await (const r of first.master.run()) {
      if (got.length === steps) break;
      got.push(r);
      saved = JSON.stringify(await first.master.state());
      weights = first.weights();
    }
    const second = ppoRun(setup);
    await second.master.restore(JSON.parse(saved));
    second.setWeights(weights);
    got.push(...(await collect(second.master)));
    expect(got.map(timeless)).toEqual(expected);
    expect(second.weights()).toEqual(whole.weights());
    expect(second.models.map((m) => m.version)).toEqual(whole.models.map((m) => m.version));
  });

  it('says where a call failed, keeps the class of the error, and can go on from an earlier state', async () => {
    const run = ppoRun({ items: 12, ppo: { nSeqs: 4 } });
    const state = await run.master.state();
    const weights = run.weights();
    run.fake.fail = (model, method) =>
      model === 'critic@0' && method === 'trainStep' && run.models[1]!.version.globalStep === 1
        ? new NumericError('loss is NaN')
        : undefined;
    const records: StepRecord[] = [];
    const go = async () => {
      for await (const r of run.master.run()) records.push(r);
    };
    const error: unknown = await go().catch((e: unknown) => e);
    expect(error).toBeInstanceOf(NumericError);
    expect((error as Error).message).toMatch(
      /^MFC 'critic_train' \(train_step on model critic@0\) failed at step 1 \(epoch 0, its step 1\) on ids p\d+, p\d+, p\d+, p\d+: loss is NaN$/,
    );
    expect((error as Error).cause).toBeInstanceOf(NumericError);
    expect(records).toHaveLength(1);
    await expect(run.master.state()).rejects.toThrow(/inside a step \(1 are done\)/);
    await expect(collect(run.master)).rejects.toThrow(/critic_train/);

    run.fake.fail = () => undefined;
    await run.master.restore(state);
    run.setWeights(weights);
    const again = await collect(run.master);
    expect(timeless(again[0]!)).toEqual(timeless(records[0]!));
    expect(again).toHaveLength(6);
  });

  it('splits a step where MFCs take fewer items, and trains a role only when the step is done with its old weights', async () => {
    const { master, fake } = ppoRun({
      items: 8,
      control: {},
      sizes: {
        actor_gen: 8,
        rew_inf: 4,
        critic_inf: 2,
        critic_train: 4,
        ref_inf: 8,
        actor_train: 8,
      },
    });
    const [record] = await collect(master);
    const names = fake.log.map((l) => l.split(' ')[0]!);
    expect(names.filter((n) => n === 'critic@0.inference')).toHaveLength(4);
    expect(names.indexOf('critic@0.trainStep')).toBeGreaterThan(
      names.lastIndexOf('critic@0.inference'),
    );
    expect(record!.stats.critic_train).toMatchObject({ n_seqs_sum: 8 });
    expect(record!.tokens.critic_inf).toBe(record!.tokens.actor_gen);
  });

  it('reads ahead one step when asked, drains before a save, never crosses an epoch', async () => {
    const { master, fake } = ppoRun({
      items: 16,
      control: { total_train_epochs: 2, save_freq_steps: 2 },
      master: { readAhead: 1 },
    });
    const records: StepRecord[] = [];
    for await (const r of master.run()) {
      records.push(r);
      if (r.save) await master.state();
    }
    expect(records.map((r) => r.step)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    const saves = records.filter((r) => r.save).map((r) => r.step);
    expect(saves.length).toBeGreaterThanOrEqual(3);
    for (const r of records.filter((x) => x.endOfEpoch)) expect(saves).toContain(r.step);
    const starts = fake.log.flatMap((l, i) => (l.startsWith('actor@0.generate') ? [i] : []));
    const ends = fake.log.flatMap((l, i) => (l.startsWith('actor@0.trainStep') ? [i] : []));
    // The second generation starts before the first step's training ends; the fifth is of the next epoch.
    expect(starts[1]).toBeLessThan(ends[0]!);
    expect(starts[4]).toBeGreaterThan(ends[3]!);
    // Never more than one step ahead.
    for (let i = 2; i < starts.length; i++) expect(starts[i]).toBeGreaterThan(ends[i - 2]!);
  });

  it('runs hooks around calls and refuses a reallocation without a runner', async () => {
    const seen: string[] = [];
    const options: PpoOptions = {
      nSeqs: 4,
      logitsMask: false,
      offload: { ref: true, reward: true },
      refEmaEta: 0.01,
    };
    const { master, fake } = ppoRun({
      control: { benchmark_steps: 1 },
      ppo: options,
      worker: {
        hooks: {
          run: (hook, { mfc, phase }) => {
            seen.push(`${phase} ${mfc.name} ${hook.type} after ${fake.log.length} calls`);
            return Promise.resolve();
          },
        },
      },
    });
    await collect(master);
    expect(seen).toEqual([
      'post rew_inf offload after 2 calls',
      'post actor_train param_realloc after 5 calls',
    ]);
    await expect(collect(ppoRun({ ppo: options }).master)).rejects.toThrow(
      /actor_train.*was given no HookRunner/,
    );
    expect(await collect(ppoRun({ ppo: { offload: { ref: true } } }).master)).toHaveLength(4);
  });

  it('gives the same numbers with models spread over workers, which pull what they lack', async () => {
    const one = ppoRun();
    const expected = (await collect(one.master)).map(timeless);
    const models = ['actor', 'critic', 'ref', 'reward'].map((r, i) => fakeModel(r, i + 1));
    const fake = fakeInterfaces();
    const pulled: string[] = [];
    const workers: Record<string, ModelWorker> = {};
    const make = (name: string, some: typeof models, data: Partial<ModelWorkerOptions>) =>
      (workers[name] = new ModelWorker({
        models: some,
        interfaces: fake.registry,
        pull: ({ from, ids, keys }) => {
          pulled.push(`${name} ← ${from}: ${keys.join(' ')}`);
          return Promise.resolve(workers[from]!.read(ids, keys));
        },
        ...data,
      }));
    make('data', [], { data: new ListDataSource(prompts(10), { seed: 7 }) });
    make('a', [models[0]!, models[2]!], {});
    make('b', [models[1]!, models[3]!], {});
    const master = new Master({
      graph: buildGraph(ppoMFCs({ nSeqs: 4, logitsMask: true }), {
        datasetKeys: ['packed_prompts'],
      }),
      stream: new InProcessStream(workers),
      workerOf: ({ role }) => (role === 'actor' || role === 'ref' ? 'a' : 'b'),
      dataWorkers: ['data'],
      control: expControlSchema.parse({ total_train_epochs: 2 }),
    });
    expect((await collect(master)).map(timeless)).toEqual(expected);
    expect(models.map((m) => m.engine.weight)).toEqual(one.weights());
    expect(Object.values(workers).map((w) => w.storedItems)).toEqual([0, 0, 0]);
    const [first, second] = [pulled.slice(0, pulled.length / 4), pulled.slice(pulled.length / 4)];
    expect(new Set(second)).toEqual(new Set(first));
    // b asks for packed_input_ids in rew_inf and critic_inf at once: it moves once.
    expect(first.filter((p) => p.startsWith('b ← a: packed_input_ids'))).toHaveLength(1);
    expect(first.filter((p) => p === 'a ← data: packed_prompts')).toHaveLength(1);
    expect(first).toContain('a ← b: rewards values');
  });

  it('says what is missing before it starts', async () => {
    const { master } = ppoRun();
    await expect(
      new Master({
        graph: buildGraph(ppoMFCs({ nSeqs: 4, logitsMask: true }), {
          datasetKeys: ['packed_prompts'],
        }),
        stream: new InProcessStream({}),
      }).initialize(),
    ).rejects.toThrow(/should load the dataset, but it has none/);
    await expect(master.restore({ version: 1 })).rejects.toThrow(/not the state of a master/);
  });

  it('refuses a dataset that does not fill a step and a state of another run', async () => {
    await expect(collect(ppoRun({ items: 3 }).master)).rejects.toThrow(
      /has 3 items, one step takes 4/,
    );
    const state = await ppoRun({ items: 8 }).master.state();
    await expect(ppoRun({ items: 12 }).master.restore(state)).rejects.toThrow(
      /2 steps per epoch, now there are 3/,
    );
    await expect(ppoRun({ items: 9 }).master.restore(state)).rejects.toThrow(
      /made with 8 items in the dataset, now there are 9/,
    );
  });
});

describe('Master with sft', () => {
  const pairs = Array.from({ length: 8 }, (_, i) =>
    SequenceSample.fromDefault({
      ids: [`s${i}`],
      seqlens: [3],
      data: { packed_input_ids: Int32Array.of(i, i, i), prompt_mask: Uint8Array.of(1, 0, 0) },
    }),
  );
  const sftRun = (control: Record<string, unknown>, saved: string[]) => {
    let now = 0;
    const fake = fakeInterfaces();
    const worker = new ModelWorker({
      models: [fakeModel('default', 1)],
      interfaces: fake.registry,
      data: new ListDataSource(pairs),
      evalData: () => pairs.slice(0, 2),
      saveModel: (_, path) => {
        saved.push(path);
        return Promise.resolve();
      },
    });
    const master = new Master({
      graph: buildGraph(sftMFCs({ nSeqs: 2 }), {
        datasetKeys: ['packed_input_ids', 'prompt_mask'],
      }),
      stream: new InProcessStream({ w0: worker }),
      control: expControlSchema.parse(control),
      clock: () => now,
    });
    return { master, pass: (secs: number) => (now += secs) };
  };
  const pathOf = (m: ModelName) => `/checkpoints/${m.role}`;

  it('evaluates and saves by steps, epochs and seconds', async () => {
    const saved: string[] = [];
    const { master, pass } = sftRun(
      { total_train_epochs: 2, eval_freq_steps: 3, save_freq_epochs: 1, save_freq_secs: 25 },
      saved,
    );
    const saves: number[] = [];
    const evals: number[] = [];
    for await (const r of master.run()) {
      if (r.evalStats) {
        evals.push(r.step);
        expect(r.evalStats['default@0']).toMatchObject({ n_seqs_sum: 2 });
      }
      if (r.save) {
        saves.push(r.step);
        await master.save(pathOf);
      }
      pass(10);
    }
    expect(evals).toEqual([2, 5]);
    // Seconds: at 30 s and 60 s since the start; epochs: steps 3 and 7.
    expect(saves).toEqual([3, 6, 7]);
    expect(saved).toEqual(Array<string>(3).fill('/checkpoints/default'));
    await master.exit();
  });

  it('does not save models whose interface says enableSave: false', async () => {
    const { master } = ppoRun({
      ppo: { actorArgs: { enable_save: false } },
      worker: { saveModel: (m) => Promise.reject(new Error(`saved ${m.name.role}`)) },
    });
    await master.initialize();
    await expect(master.save(pathOf)).rejects.toThrow('saved critic');
  });
});
