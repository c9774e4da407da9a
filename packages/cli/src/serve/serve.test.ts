/** `real serve` as the npm client of OpenAI sees it, with a tiny random model. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { useFolder, writeModelDir } from '../e2e/tiny.js';
import { configOf, testContext, useDevice } from '../experiments/test-run.js';
import { runServe, serveSchema } from './command.js';

const dir = useFolder();
const device = useDevice();
const stop = new AbortController();
let url = '';
let done: Promise<void> | undefined;
let client: OpenAI;

const template =
  "{% for m in messages %}{{ m['role'][0] }} {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}a {% endif %}";

beforeAll(async () => {
  const model = writeModelDir(join(dir, 'tiny'), {});
  writeFileSync(
    join(model, 'tokenizer_config.json'),
    JSON.stringify({
      eos_token: '<|endoftext|>',
      pad_token: '<|pad|>',
      chat_template: template,
    }),
  );
  const config = configOf(serveSchema, [
    'model.init_from_scratch=true',
    `model.config=${model}`,
    'port=0',
    'kv_gib=0.0005',
    'max_sequences=4',
    'max_queued=4',
    'page_size=4',
    'steps_per_read=1',
  ]);
  url = await new Promise<string>((resolve, reject) => {
    done = runServe(config, testContext(stop.signal), device(), resolve);
    done.catch(reject);
  });
  client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(async () => {
  stop.abort();
  await done;
});

const base = { model: 'tiny', prompt: 'the dog', max_tokens: 12, seed: 7 };

describe('real serve', () => {
  test('lists its model', async () => {
    const models = await client.models.list();
    expect(models.data.map((m) => m.id)).toEqual(['tiny']);
    expect((await client.models.retrieve('tiny')).owned_by).toBe('realhf');
  });

  test('completions: a seed repeats its answer, streamed or whole; log-probs, n, several prompts, usage', async () => {
    const whole = await client.completions.create({ ...base, logprobs: 1 });
    const [choice] = whole.choices;
    expect(whole.usage).toEqual({ prompt_tokens: 7, completion_tokens: 12, total_tokens: 19 });
    expect(choice!.finish_reason).toBe('length');
    expect(choice!.text.length).toBe(12);
    expect(choice!.logprobs!.tokens!.join('')).toBe(choice!.text);
    expect(choice!.logprobs!.token_logprobs!.every((x) => x < 0)).toBe(true);
    expect(choice!.logprobs!.text_offset).toEqual([...Array(12).keys()]);
    const stream = await client.completions.create({
      ...base,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let pieces = 0;
    let usage: unknown;
    for await (const piece of stream) {
      text += piece.choices[0]?.text ?? '';
      pieces++;
      usage = piece.usage ?? usage;
    }
    expect(text).toBe(choice!.text);
    expect(pieces).toBeGreaterThan(2);
    expect(usage).toEqual(whole.usage);
    const many = await client.completions.create({ ...base, prompt: ['the dog', 'a cat'], n: 2 });
    const texts = many.choices.map((c) => c.text);
    expect(texts[0]).toBe(choice!.text);
    expect(new Set(texts).size).toBe(4);
    const greedy = await client.completions.create({ ...base, temperature: 0, seed: 1 });
    const again = await client.completions.create({ ...base, temperature: 0, seed: 2 });
    expect(again.choices[0]!.text).toBe(greedy.choices[0]!.text);
  });

  test('stop strings end an answer before them', async () => {
    const whole = (await client.completions.create(base)).choices[0]!.text;
    const stopAt = whole.slice(5, 7);
    const cut = (await client.completions.create({ ...base, stop: [stopAt, 'never'] })).choices[0]!;
    expect(cut.text).toBe(whole.slice(0, whole.indexOf(stopAt)));
    expect(cut.finish_reason).toBe('stop');
  });

  test('chats go through the template', async () => {
    const messages = [{ role: 'user' as const, content: 'hi' }];
    const chat = { model: 'tiny', messages, max_completion_tokens: 6, ...{ seed: 3 } };
    const whole = await client.chat.completions.create({ ...chat, logprobs: true });
    // 'u hi a '
    expect(whole.usage!.prompt_tokens).toBe(7);
    const choice = whole.choices[0]!;
    expect(choice.message.role).toBe('assistant');
    expect(choice.message.content!.length).toBe(6);
    expect(choice.logprobs!.content!.map((c) => c.token).join('')).toBe(choice.message.content);
    const stream = await client.chat.completions.create({ ...chat, stream: true });
    let text = '';
    for await (const piece of stream) text += piece.choices[0]?.delta.content ?? '';
    expect(text).toBe(choice.message.content);
  });

  test("errors have OpenAI's shape", async () => {
    const failure = async (call: Promise<unknown>) =>
      call.then(
        () => undefined,
        (e: unknown) => e,
      );
    expect(await failure(client.completions.create({ ...base, model: 'gpt' }))).toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
    });
    expect(await failure(client.completions.create({ ...base, top_p: 7 }))).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
      param: 'top_p',
    });
    expect(await failure(client.completions.create({ ...base, max_tokens: 99 }))).toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
    expect(
      await failure(client.completions.create({ ...base, presence_penalty: 1 })),
    ).toMatchObject({ status: 400, param: 'presence_penalty' });
    expect(await failure(client.embeddings.create({ model: 'tiny', input: 'a' }))).toMatchObject({
      status: 404,
      code: 'unknown_url',
    });
    const raw = await fetch(`${url}/v1/completions`, { method: 'POST', body: '{' });
    expect(raw.status).toBe(400);
    expect(await raw.json()).toMatchObject({ error: { param: null, code: null } });
    expect((await fetch(`${url}/v1/completions`)).status).toBe(405);
  });

  test('overload is turned away with Retry-After; a client that leaves frees its place', async () => {
    const long = { ...base, max_tokens: 50, min_tokens: 50, n: 8, stream: true as const };
    const attempt = async () => {
      const busy = await client.completions.create(long);
      expect((await busy[Symbol.asyncIterator]().next()).done).toBe(false);
      const body = JSON.stringify(base);
      return { busy, refused: await fetch(`${url}/v1/completions`, { method: 'POST', body }) };
    };
    // On a machine that is slow to send, the long answers may be done before.
    let { busy, refused } = await attempt();
    for (let i = 0; refused.status !== 429 && i < 20; i++) ({ busy, refused } = await attempt());
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await refused.json()).toMatchObject({
      error: { type: 'rate_limit_error', code: 'server_overloaded' },
    });
    busy.controller.abort();
    // The places are free as soon as the server has seen it leave.
    let answered: OpenAI.Completion | undefined;
    while (!answered) answered = await client.completions.create(base).catch(() => undefined);
    expect(answered.choices[0]!.text.length).toBe(12);
    const health = (await (await fetch(`${url}/health`)).json()) as { running: number };
    expect(health.running).toBe(0);
  });
});
