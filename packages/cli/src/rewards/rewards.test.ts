import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { writeFileSync } from 'node:fs';

import { type Model, SequenceSample, type Tokenizer } from '@realhf/api';
import { ExternalRewardInterface, type RewardBatch, type RewardSource } from '@realhf/model';
import { afterEach, describe, expect, it } from 'vitest';

import { useFolder, writeLines } from '../e2e/tiny.js';
import { configOf } from '../experiments/test-run.js';
import { grpoSchema } from '../options/schemas/grpo.js';
import { functionReward } from './function-reward.js';
import { recordLookup } from './record-lookup.js';
import { urlReward } from './url-reward.js';

const dir = useFolder();
const file = (name: string, text: string) => {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
};
const batch = (n: number): RewardBatch => ({
  ids: Array.from({ length: n }, (_, i) => `r${i}`),
  prompts: Array.from({ length: n }, (_, i) => `p${i}`),
  completions: Array.from({ length: n }, (_, i) => 'x'.repeat(i)),
  promptTokens: Array.from({ length: n }, () => [1]),
  completionTokens: Array.from({ length: n }, (_, i) => Array<number>(i).fill(2)),
  records: Array.from({ length: n }, (_, i) => ({ answer: i })),
});
const source = (path: string, more: { threads?: number; timeoutMs?: number } = {}) =>
  functionReward({ file: path, weight: 1, threads: 1, timeoutMs: 20_000, ...more });

describe('a function on threads', () => {
  it('scores a batch, cut over the threads, in order', async () => {
    const path = file(
      'length.mts',
      `import { threadId } from 'node:worker_threads';
       interface Batch { ids: string[]; completions: string[]; records: { answer: number }[] }
       export const reward = async ({ completions, records }: Batch): Promise<number[]> =>
         completions.map((c, i) => c.length + 100 * records[i]!.answer + 0 * threadId);`,
    );
    expect(await source(path, { threads: 2 }).score(batch(5))).toEqual([0, 101, 202, 303, 404]);
  });

  it('names the file and the id where it throws, and goes on', async () => {
    const path = file(
      'throws.ts',
      `export default ({ ids }: { ids: string[] }) => {
         if (ids.includes('r2')) throw new Error('no such unit');
         return ids.map(() => 1);
       };`,
    );
    const reward = source(path);
    await expect(reward.score(batch(4))).rejects.toThrow(
      `the reward of id 'r2': ${path} failed: no such unit`,
    );
    expect(await reward.score(batch(2))).toEqual([1, 1]);
  });

  it.each([
    ['hangs', 'export const reward = () => { for (;;); };', /hangs\.mts took more than 1\.5 s/],
    ['ends', 'export const reward = () => process.exit(3);', /ends\.mts ended its thread .* 3/],
    ['absent', 'export const other = 1;', /absent\.mts failed: it exports no function 'reward'/],
    ['broken', 'export const = 1;', /broken\.mts failed/],
    ['short', 'export const reward = () => [1];', /returned 1 values for 2 answers/],
  ])('a file that %s is an error', async (name, text, message) => {
    const path = file(`${name}.mts`, text);
    // Only the one that hangs may run into it, however slow the machine is.
    const timeoutMs = name === 'hangs' ? 1500 : 60_000;
    await expect(source(path, { timeoutMs }).score(batch(2))).rejects.toThrow(message);
  });
});

describe('an address', () => {
  const open: (() => void)[] = [];
  afterEach(() => {
    for (const close of open.splice(0)) close();
  });
  const serve = async (listener: RequestListener): Promise<string> => {
    const server = createServer(listener);
    open.push(() => {
      server.closeAllConnections();
      server.close();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  };
  const reward = (url: string, more: { retries?: number; timeoutMs?: number } = {}) =>
    urlReward({ url, weight: 1, retries: 2, timeoutMs: 5000, pauseMs: 1, ...more });

  it('gets the batch as JSON and is asked again after 503', async () => {
    let asked = 0;
    const url = await serve((request, response) => {
      let text = '';
      request.on('data', (part: Buffer) => (text += part.toString()));
      request.on('end', () => {
        response.statusCode = asked++ === 0 ? 503 : 200;
        const { completions } = JSON.parse(text) as RewardBatch;
        response.end(JSON.stringify({ rewards: completions.map((c) => c.length) }));
      });
    });
    expect(await reward(url).score(batch(3))).toEqual([0, 1, 2]);
    expect(asked).toBe(2);
  });

  it('is given up after its retries, at once where it refuses', async () => {
    let asked = 0;
    const busy = await serve((_, response) => {
      asked++;
      response.statusCode = 500;
      response.end();
    });
    await expect(reward(busy).score(batch(1))).rejects.toThrow(/HTTP 500, after 3 tries/);
    expect(asked).toBe(3);
    const refuses = await serve((_, response) => {
      response.statusCode = 404;
      response.end();
    });
    await expect(reward(refuses).score(batch(1))).rejects.toThrow(/HTTP 404, after 1 tries/);
    const silent = await serve(() => undefined);
    await expect(reward(silent, { retries: 0, timeoutMs: 50 }).score(batch(1))).rejects.toThrow(
      /no answer within 0\.05 s/,
    );
  });
});

it('finds records by id, given or made from the index', async () => {
  const path = writeLines(join(dir, 'data.jsonl'), [
    { prompt: 'a', answer: 1 },
    { id: 'x', prompt: 'b', answer: 2 },
    'not JSON',
  ]);
  const records = recordLookup(path, {});
  expect((await records(['x', '#0'])).map((r) => r.answer)).toEqual([2, 1]);
  await expect(records(['#1'])).rejects.toThrow(/no record '#1'/);
});

describe('external_reward', () => {
  const tokenizer: Tokenizer = {
    vocabSize: 128,
    eosTokenId: null,
    padTokenId: null,
    bosTokenId: null,
    encode: (text) => Int32Array.from(text, (c) => c.charCodeAt(0)),
    decode: (tokens) => String.fromCharCode(...tokens),
  };
  const input = new SequenceSample({
    ids: ['a', 'b'],
    seqlens: { packed_input_ids: [[3, 2], [4]], prompt_mask: [[3, 2], [4]] },
    data: {
      packed_input_ids: tokenizer.encode('?12?3!?45'),
      prompt_mask: Uint8Array.of(1, 0, 0, 1, 0, 1, 1, 0, 0),
    },
    dtypes: { packed_input_ids: 'i32', prompt_mask: 'u8' },
    trailingShapes: { packed_input_ids: [], prompt_mask: [] },
  });
  const numbers: RewardSource = {
    name: 'numbers.mts',
    weight: 2,
    score: (b) => Promise.resolve(b.completions.map(Number)),
  };
  const model = { tokenizer } as Model;
  const records = (ids: readonly string[]) => Promise.resolve(ids.map((id) => ({ id })));

  it('adds sources with weights, one reward per sequence', async () => {
    let seen: RewardBatch | undefined;
    const ids: RewardSource = {
      name: 'other',
      weight: 0.5,
      score: (b) => {
        seen = b;
        return Promise.resolve(b.ids.map(() => 1));
      },
    };
    const it = new ExternalRewardInterface({ sources: [numbers, ids], records });
    const out = await it.inference(model, input, {});
    expect([...out.f32('rewards')]).toEqual([24.5, 6.5, 90.5]);
    expect(out.seqlens.rewards).toEqual([[1, 1], [1]]);
    expect(seen?.ids).toEqual(['a', 'a', 'b']);
    expect(seen?.prompts).toEqual(['?', '?', '!?']);
    expect(seen?.records).toEqual([{ id: 'a' }, { id: 'a' }, { id: 'b' }]);
  });

  it('names the id and the source of a number that is not finite', async () => {
    const bad = { ...numbers, score: () => Promise.resolve([1, NaN, 1]) };
    await expect(
      new ExternalRewardInterface({ sources: [bad], records }).inference(model, input, {}),
    ).rejects.toThrow(/numbers\.mts of id 'a' is NaN/);
  });
});

describe('options', () => {
  const words = (...more: string[]) => [
    'experiment_name=r',
    'actor.path=a',
    'ref.path=a',
    'dataset.path=d',
    ...more,
  ];
  it('need no reward model with a source, and as many weights as sources', () => {
    const both = configOf(grpoSchema, words('reward.fn=[a.mts,b.mts]', 'reward.weights=[1,0.5]'));
    expect(both.reward.fn).toEqual(['a.mts', 'b.mts']);
    expect(configOf(grpoSchema, words('reward.fn=a.mts')).reward.fn).toBe('a.mts');
    expect(() => configOf(grpoSchema, words())).toThrow(/'rew\.path'/);
    expect(() =>
      configOf(grpoSchema, words('reward.fn=a.mts', 'rew.path=m', 'reward.weights=[1]')),
    ).toThrow(/1 weights for 2 sources/);
    expect(() => configOf(grpoSchema, words('reward.url=localhost:1'))).toThrow(/no http/);
  });
});
