import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { ModelConfig } from '@realhf/api';
import { layout, modelSize, stageSizes, type RankMemory } from '@realhf/dataflow';
import { paramCount, shardRule, stageSpecs } from '@realhf/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { commands } from '../commands.js';
import { writeModelDir } from '../e2e/tiny.js';
import { runCli } from '../run-cli.js';
import type { PlannedMove } from './make-plan.js';
import { presetConfig, presetNames } from './presets.js';

async function real(...words: string[]) {
  let out = '';
  let err = '';
  const code = await runCli(commands, words, {
    stdout: { columns: 140, write: (t: string) => (out += t) },
    stderr: { write: (t: string) => (err += t) },
    env: {},
    signal: new AbortController().signal,
    version: '0',
  });
  return { code, out, err };
}
interface Json {
  readonly calls: readonly { name: string; model: string; mesh: string }[];
  readonly ranks: readonly (RankMemory & { rank: number })[];
  readonly reallocations: readonly PlannedMove[];
}
async function json(...words: string[]): Promise<Json> {
  const { code, out, err } = await real('plan', ...words, '--json', 'true');
  expect(err).toBe('');
  expect(code).toBe(0);
  return JSON.parse(out) as Json;
}

describe('sizes by formula', () => {
  const configs: [string, ModelConfig][] = presetNames.flatMap((n) =>
    [false, true].map((c): [string, ModelConfig] => [`${n} ${c}`, presetConfig(n, c)]),
  );
  it.each(configs)('%s: those of the model, whole and cut', (_, config) => {
    expect(modelSize(config)).toBe(paramCount(config));
    for (const [tp, pp] of [
      [1, 2],
      [2, 1],
      [2, 3],
    ] as const) {
      let most = 0;
      if (config.nHeads % tp !== 0) continue;
      for (let stage = 0; stage < pp; stage++) {
        const sizes = stageSpecs(config, { rank: stage, size: pp }).map((spec) =>
          shardRule(config, spec, { rank: 0, size: tp }).shape.reduce((a, b) => a * b, 1),
        );
        most = Math.max(
          most,
          sizes.reduce((a, b) => a + b, 0),
        );
      }
      expect(stageSizes(config, layout(1, tp, pp)).parameters / most).toBeCloseTo(1, 3);
    }
  });
});

describe('real plan', () => {
  let root: string;
  beforeAll(() => (root = mkdtempSync(join(tmpdir(), 'realhf-plan-'))));
  afterAll(() => {
    rmSync(root, { recursive: true });
  });

  it('ppo: text of calls, memory, reallocations, graph', async () => {
    const words = 'plan ppo preset=llama-7b n_gpus_per_node=8 dataset.train_bs_n_seqs=16';
    const { code, out } = await real(...words.split(' '));
    expect(code).toBe(0);
    for (const line of [
      /^ppo on 8 devices \(1 × 8\), a step of 16 items of 1 × up to 512 tokens$/m,
      /^ {2}actor_gen +generate +actor@0 +NODE01 +d8m1p1 +1 +fill from actor@1 +drop$/m,
      /^ {2}actor_train +train_step +actor@1 +NODE01:0,1,2,3 +d2m2p1 sp +1 +- +-$/m,
      /^ {2}rew_inf .* offload$/m,
      /^ {2}0-3 +actor_gen .*[0-9]\.[0-9]{2}$/m,
      /^ {2}actor_gen +before +actor@1 +actor@0 +[0-9.]+ +0 +[0-9.]+ +[0-9.]+$/m,
      /^ {4}← actor_gen: packed_input_ids/m,
    ])
      expect(out).toMatch(line);
  });

  it('counts what moves: all of a disjoint layout, nothing of an equal one', async () => {
    const gpt2 = paramCount(presetConfig('gpt2', false)) * 4;
    const manual = (gen: string, train: string) =>
      json(
        ...'grpo preset=gpt2 n_gpus_per_node=4 allocation_mode=manual'.split(' '),
        ...['ref_inf', 'rew_inf'].map((m) => `${m}.device_mesh=NODE01:0`),
        ...[`actor_gen.device_mesh=${gen}`, `actor_train.device_mesh=${train}`],
        ...['gen', 'train'].map((m) => `actor_${m}.parallel.data_parallel_size=2`),
      );
    const apart = await manual('NODE01:2,3', 'NODE01:0,1');
    expect(apart.reallocations).toMatchObject([
      { mfc: 'actor_gen', phase: 'before', source: 'actor@1', target: 'actor@0', copied: 0 },
    ]);
    expect(apart.reallocations[0]!.moved).toBe(2 * gpt2);
    const half = await manual('NODE01:1,2', 'NODE01:0,1');
    expect(half.reallocations[0]).toMatchObject({ moved: gpt2, copied: gpt2 });
    expect((await manual('NODE01:0,1', 'NODE01:0,1')).reallocations).toEqual([]);
  });

  it('takes the command line of a run, the shape from its checkpoint', async () => {
    writeModelDir(join(root, 'm'));
    const { ranks } = await json(
      ...`sft experiment_name=x model.path=${root}/m dataset.train_path=nowhere.jsonl`.split(' '),
      ...'n_gpus_per_node=2 allocation_mode=d2m1p1 model.optimizer.lr=1e-4'.split(' '),
    );
    expect(ranks.map((r) => r.rank)).toEqual([0, 1]);
    const { parameters, gradients, optimizer } = ranks[0]!.resident;
    expect(gradients).toBe(parameters);
    // Adam's two moments, shared by two data-parallel ranks.
    expect(optimizer).toBe(parameters);
  });

  it('of a model with an adapter trains and moves the adapter alone', async () => {
    const words = 'ppo preset=gpt2 n_gpus_per_node=4 allocation_mode=d4m1p1 actor.lora.rank=8';
    const { ranks } = await json(...words.split(' '));
    // Rank 8 on q, k, v and o of 12 layers of width 768.
    const adapter = 12 * 4 * 8 * 2 * 768;
    const critic = paramCount(presetConfig('gpt2', true));
    const { gradients, optimizer } = ranks[0]!.resident;
    expect(gradients).toBe(4 * (adapter + critic));
    expect(optimizer).toBe(8 * (adapter / 4 + Math.ceil(critic / 4)));
  });

  it.each(['dpo', 'rw', 'gen', 'grpo', 'remax', 'raft'])(
    '%s on every small cluster',
    async (name) => {
      for (const [nodes, gpus] of [
        [1, 1],
        [1, 3],
        [2, 3],
      ] as const) {
        const where = [`n_nodes=${nodes}`, `n_gpus_per_node=${gpus}`];
        const { ranks } = await json(name, 'preset=qwen2.5-0.5b', ...where);
        expect(ranks).toHaveLength(nodes * gpus);
      }
    },
  );

  it.each([
    ['ppo', 2, /the shape of 'actor' is unknown; set actor.path, actor.preset or preset/],
    ['ppo preset=lama-7b', 2, /no preset 'lama-7b'.*llama-7b/],
    ['pppo preset=gpt2', 2, /no algorithm 'pppo'; there are ppo, ppo-ema, grpo, /],
    ['algorithm=ppo', 2, /real plan ppo key=value/],
    ['ppo preset=gpt2 n_gpus_per_node=8 allocation_mode=d2m2p1', 2, /4 devices, 1 × 8 gives 8/],
    [
      'ppo preset=gpt2 n_gpus_per_node=5 allocation_mode=d1m5p1',
      2,
      /5 does not divide nHeads = 12/,
    ],
    ['ppo preset=gpt2 allocation_mode=search', 2, /'search' needs measured times/],
    ['ppo preset=llama-7b capacity_gib=4', 2, /no allocation fits: rank 0 needs .* GiB/],
    [
      'sft preset=gpt2 dataset.train_bs_n_seqs=2 n_gpus_per_node=4 allocation_mode=d4m1p1',
      2,
      /takes 2 seq/,
    ],
    [
      'sft preset=gpt2 allocation_mode=manual allocation.device_mesh=NODE01:x',
      2,
      /mesh 'NODE01:x', column 8: expected the number of a device, found 'x'/,
    ],
  ])('%s is refused', async (words, code, message) => {
    const result = await real('plan', ...words.split(' '));
    expect(result.err).toMatch(message);
    expect(result.err.trim()).not.toContain('\n');
    expect(result).toMatchObject({ code, out: '' });
  });
});
