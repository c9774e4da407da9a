/** A request as sequences of the engine, and their tokens as OpenAI's objects: text completions and chat completions. */
import { randomInt, randomUUID } from 'node:crypto';

import type { Tokenizer } from '@realhf/api';
import type { Generation, GenerationEngine, TokenEvent } from '@realhf/model';

import {
  chatRequest,
  completionRequest,
  generationOf,
  parseRequest,
  refuseUnsupported,
  RequestError,
} from './protocol.js';

export interface ServedModel {
  readonly engine: GenerationEngine;
  readonly tokenizer: Tokenizer;
  /** Name that clients ask for. */
  readonly name: string;
  /** Tokens: prompt and answer together. */
  readonly context: number;
  /** Default of max_tokens in chats, cut to what the context leaves. */
  readonly maxTokens: number;
  /** Text completions: BOS before the prompt. */
  readonly addBos: boolean;
}

/** How an answer is spelled. */
export interface Style {
  readonly object: string;
  readonly chunkObject: string;
  /** A choice of a whole answer. */
  choice(index: number, text: string, logprobs: unknown, finish: string): object;
  /** A choice of a piece of one; `first` is the first of its index. */
  delta(
    index: number,
    text: string,
    logprobs: unknown,
    finish: string | null,
    first: boolean,
  ): object;
  logprobs(tokens: ArrayLike<number>, logProbs: ArrayLike<number>, offset: number): unknown;
}

/** One choice of an answer. */
export interface Choice {
  readonly index: number;
  readonly generation: Generation;
}

export interface Answer {
  readonly id: string;
  readonly created: number;
  readonly style: Style;
  readonly choices: readonly Choice[];
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly wantLogprobs: boolean;
  readonly promptTokens: number;
}

const nowSeconds = () => Math.floor(Date.now() / 1000);

function completionStyle(tokenizer: Tokenizer): Style {
  const choice = (index: number, text: string, logprobs: unknown, finish: string | null) => ({
    index,
    text,
    logprobs,
    finish_reason: finish,
  });
  return {
    object: 'text_completion',
    chunkObject: 'text_completion',
    choice,
    delta: choice,
    logprobs: (tokens, logProbs, offset) => {
      const texts = Array.from(tokens, (t) => tokenizer.decode([t]));
      let at = offset;
      return {
        tokens: texts,
        token_logprobs: Array.from(logProbs),
        top_logprobs: texts.map((t, i) => ({ [t]: logProbs[i] })),
        text_offset: texts.map((t) => (at += t.length) - t.length),
      };
    },
  };
}

function chatStyle(tokenizer: Tokenizer): Style {
  return {
    object: 'chat.completion',
    chunkObject: 'chat.completion.chunk',
    choice: (index, content, logprobs, finish) => ({
      index,
      message: { role: 'assistant', content, refusal: null },
      logprobs,
      finish_reason: finish,
    }),
    delta: (index, content, logprobs, finish, first) => ({
      index,
      delta: {
        ...(first ? { role: 'assistant' } : {}),
        ...(content === '' && !first ? {} : { content }),
      },
      logprobs,
      finish_reason: finish,
    }),
    logprobs: (tokens, logProbs) => ({
      content: Array.from(tokens, (t, i) => {
        const token = tokenizer.decode([t]);
        const entry = { token, logprob: logProbs[i]!, bytes: [...new TextEncoder().encode(token)] };
        return { ...entry, top_logprobs: [entry] };
      }),
      refusal: null,
    }),
  };
}

interface Asked {
  readonly prompts: readonly Int32Array[];
  readonly maxTokens: number | undefined;
  readonly wantLogprobs: boolean;
  readonly style: Style;
  readonly idPrefix: string;
}

/** Submits the sequences of a request body; throws RequestError. `capacity(n)` throws where n more are too many. */
export function submit(
  kind: 'completions' | 'chat',
  body: unknown,
  model: ServedModel,
  signal: AbortSignal,
  capacity: (sequences: number) => void,
): Answer {
  const request =
    kind === 'chat' ? parseRequest(chatRequest, body) : parseRequest(completionRequest, body);
  if (request.model !== model.name)
    throw new RequestError(
      404,
      `the model '${request.model}' does not exist; this is '${model.name}'`,
      {
        param: 'model',
        code: 'model_not_found',
      },
    );
  refuseUnsupported(request);
  const asked = 'messages' in request ? askedChat(request, model) : askedText(request, model);
  const { engine, tokenizer } = model;
  const n = request.n ?? 1;
  const { stop } = request;
  const stopStrings = typeof stop === 'string' ? [stop] : (stop ?? []);
  const stopIds = [
    ...new Set([
      ...(tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId]),
      ...(request.stop_token_ids ?? []),
    ]),
  ];
  const seed = request.seed ?? randomInt(2 ** 32);
  const wanted = asked.prompts.map((prompt, p) => {
    const room = model.context - prompt.length;
    const most = asked.maxTokens ?? Math.min(room, model.maxTokens);
    if (prompt.length === 0)
      throw new RequestError(400, `prompt ${p} is empty`, { param: 'prompt' });
    if (room < 1 || most > room)
      throw new RequestError(
        400,
        `this model's context is ${model.context} tokens; the prompt has ${prompt.length} and ${most} are asked for`,
        { param: 'max_tokens', code: 'context_length_exceeded' },
      );
    return { prompt, gconfig: generationOf(request, most) };
  });
  capacity(n * wanted.length);
  const choices: Choice[] = [];
  for (const { prompt, gconfig } of wanted)
    for (let i = 0; i < n; i++) {
      const index = choices.length;
      const own = (seed + Math.imul(index, 0x9e3779b1)) >>> 0;
      try {
        const wish = { prompt, gconfig, seed: own, stopIds, stopStrings, signal };
        choices.push({ index, generation: engine.submit(wish) });
      } catch (cause) {
        for (const c of choices) c.generation.cancel();
        throw new RequestError(400, cause instanceof Error ? cause.message : String(cause));
      }
    }
  return {
    id: `${asked.idPrefix}-${randomUUID()}`,
    created: nowSeconds(),
    style: asked.style,
    choices,
    stream: request.stream ?? false,
    includeUsage: request.stream_options?.include_usage ?? false,
    wantLogprobs: asked.wantLogprobs,
    promptTokens: asked.prompts.reduce((sum, t) => sum + t.length, 0),
  };
}

function askedText(request: ReturnType<typeof completionRequest.parse>, model: ServedModel): Asked {
  const { prompt } = request;
  const list = typeof prompt === 'string' ? [prompt] : prompt;
  // An array of numbers is one prompt.
  const prompts =
    typeof list[0] === 'number'
      ? [Int32Array.from(list as number[])]
      : (list as (string | number[])[]).map((p) =>
          typeof p === 'string' ? encodePrompt(p, model) : Int32Array.from(p),
        );
  return {
    prompts,
    maxTokens: request.max_tokens ?? 16,
    wantLogprobs: typeof request.logprobs === 'number',
    style: completionStyle(model.tokenizer),
    idPrefix: 'cmpl',
  };
}

function encodePrompt(text: string, { tokenizer, addBos }: ServedModel): Int32Array {
  const tokens = tokenizer.encode(text);
  const bos = addBos ? tokenizer.bosTokenId : null;
  return bos === null ? tokens : Int32Array.from([bos, ...tokens]);
}

function askedChat(request: ReturnType<typeof chatRequest.parse>, model: ServedModel): Asked {
  const { tokenizer } = model;
  if (!tokenizer.applyChatTemplate)
    throw new RequestError(
      400,
      `the model '${model.name}' has no chat template; use /v1/completions`,
      { param: 'messages' },
    );
  const messages = request.messages.map(({ role, content }) => ({
    role,
    content: typeof content === 'string' ? content : content.map((c) => c.text).join(''),
  }));
  let text: string;
  try {
    text = tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true });
  } catch (cause) {
    throw new RequestError(400, cause instanceof Error ? cause.message : String(cause), {
      param: 'messages',
    });
  }
  return {
    prompts: [tokenizer.encode(text)],
    maxTokens: request.max_completion_tokens ?? request.max_tokens ?? undefined,
    wantLogprobs: request.logprobs ?? false,
    style: chatStyle(tokenizer),
    idPrefix: 'chatcmpl',
  };
}

const usage = (promptTokens: number, completionTokens: number) => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
});

const head = (answer: Answer, model: ServedModel, object: string) => ({
  id: answer.id,
  object,
  created: answer.created,
  model: model.name,
});

/** The answer in one piece. */
export async function wholeAnswer(answer: Answer, model: ServedModel): Promise<object> {
  const done = await Promise.all(answer.choices.map((c) => c.generation.result()));
  const tokens = done.reduce((n, d) => n + d.tokens.length, 0);
  return {
    ...head(answer, model, answer.style.object),
    choices: done.map((d, i) =>
      answer.style.choice(
        i,
        d.text ?? '',
        answer.wantLogprobs ? answer.style.logprobs(d.tokens, d.logProbs, 0) : null,
        d.finish,
      ),
    ),
    usage: usage(answer.promptTokens, tokens),
  };
}

/** Pieces as they come, of all choices mixed; the last one may be the usage. */
export async function* answerPieces(answer: Answer, model: ServedModel): AsyncGenerator<object> {
  const { style, wantLogprobs } = answer;
  let completionTokens = 0;
  const common = head(answer, model, style.chunkObject);
  const offsets = answer.choices.map(() => 0);
  for await (const { index, event, first } of merged(answer.choices)) {
    completionTokens += event.tokens.length;
    const text = event.text ?? '';
    const finish = event.finish ?? null;
    const { tokens, logProbs } = event;
    const logprobs = wantLogprobs ? style.logprobs(tokens, logProbs, offsets[index]!) : null;
    offsets[index]! += text.length;
    if (text !== '' || finish !== null || first || wantLogprobs)
      yield { ...common, choices: [style.delta(index, text, logprobs, finish, first)] };
  }
  if (answer.includeUsage)
    yield { ...common, choices: [], usage: usage(answer.promptTokens, completionTokens) };
}

interface Piece {
  readonly index: number;
  readonly event: TokenEvent;
  readonly first: boolean;
}

/** Events of all choices in the order in which they come. */
async function* merged(choices: readonly Choice[]): AsyncGenerator<Piece> {
  const iterators = choices.map((c) => c.generation[Symbol.asyncIterator]());
  const seen = choices.map(() => false);
  const next = (i: number) => iterators[i]!.next().then((result) => ({ i, result }));
  const pending = new Map(choices.map((_, i) => [i, next(i)]));
  while (pending.size > 0) {
    const { i, result } = await Promise.race(pending.values());
    if (result.done) {
      pending.delete(i);
      continue;
    }
    yield { index: choices[i]!.index, event: result.value, first: !seen[i] };
    seen[i] = true;
    pending.set(i, next(i));
  }
}
