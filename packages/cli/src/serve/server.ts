/**
 * The HTTP server of `real serve`: /v1/models, /v1/completions and /v1/chat/completions as OpenAI's clients call them,
 * streams as server-sent events. More sequences than it may hold are turned away with 429 at once; a client that leaves
 * ends its sequences at the engine's next round.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

import { DeviceError } from '@realhf/api';

import { answerPieces, submit, wholeAnswer, type ServedModel } from './answers.js';
import { RequestError } from './protocol.js';

export interface ServeOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Sequences that run or wait; requests beyond it get 429. */
  readonly maxSequences: number;
  /** Bytes of a request body. Default 8 MiB. */
  readonly maxBodyBytes?: number;
  /** Told of every failure that is the server's fault. */
  readonly onError?: (message: string) => void;
}

export interface RunningServer {
  /** e.g. http://127.0.0.1:8000 */
  readonly url: string;
  /** Ends sequences and connections. */
  close(): Promise<void>;
}

/** Listens when it resolves; throws DeviceError where the address is taken. */
export async function startServer(
  model: ServedModel,
  options: ServeOptions,
): Promise<RunningServer> {
  const closing = new AbortController();
  const created = Math.floor(Date.now() / 1000);
  const server = createServer((request, response) => {
    handle({ model, options, request, response, closing: closing.signal, created }).catch(
      (error: unknown) => {
        fail(response, error, options);
      },
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(
        new DeviceError(
          `cannot listen on ${options.host}:${options.port}: ${cause.message}; choose another port`,
          { cause },
        ),
      );
    });
    server.listen(options.port, options.host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
    close: async () => {
      closing.abort();
      const closed = new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
      server.closeAllConnections();
      await closed;
      await model.engine.run();
    },
  };
}

interface Exchange {
  readonly model: ServedModel;
  readonly options: ServeOptions;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly closing: AbortSignal;
  readonly created: number;
}

async function handle(x: Exchange): Promise<void> {
  const { model, request, response } = x;
  const path = new URL(request.url ?? '/', 'http://localhost').pathname.replace(/\/+$/, '');
  const card = { id: model.name, object: 'model', created: x.created, owned_by: 'realhf' };
  const gets: Readonly<Record<string, () => object>> = {
    '/health': () => ({
      status: 'ok',
      running: model.engine.running,
      waiting: model.engine.waiting,
    }),
    '/v1/models': () => ({ object: 'list', data: [card] }),
    [`/v1/models/${model.name}`]: () => card,
  };
  const posts: Readonly<Record<string, 'completions' | 'chat'>> = {
    '/v1/completions': 'completions',
    '/v1/chat/completions': 'chat',
  };
  const get = gets[decodeURIComponent(path)];
  const kind = posts[path];
  const method = get ? 'GET' : kind ? 'POST' : undefined;
  if (method === undefined)
    throw new RequestError(404, `there is no ${request.method ?? 'GET'} ${path}`, {
      code: 'unknown_url',
    });
  if (request.method !== method)
    throw new RequestError(405, `${path} takes ${method}, not ${request.method ?? ''}`);
  if (get) sendJson(response, 200, get());
  else if (kind) await complete(x, kind);
}

async function complete(x: Exchange, kind: 'completions' | 'chat'): Promise<void> {
  const { model, options, request, response } = x;
  const body = await readJson(request, options.maxBodyBytes ?? 8 * 2 ** 20);
  const left = new AbortController();
  response.once('close', () => {
    left.abort();
  });
  const signal = AbortSignal.any([left.signal, x.closing]);
  const answer = submit(kind, body, model, signal, (n) => {
    const busy = model.engine.running + model.engine.waiting;
    if (n > options.maxSequences)
      throw new RequestError(
        400,
        `${n} sequences are asked for, the limit is ${options.maxSequences}; ask for fewer`,
        { param: 'n' },
      );
    if (busy + n > options.maxSequences)
      throw new RequestError(
        429,
        `${busy} sequences are being answered and ${n} more are asked for, the limit is ${options.maxSequences}; try again later`,
        { type: 'rate_limit_error', code: 'server_overloaded' },
      );
  });
  if (!answer.stream) {
    const whole = await wholeAnswer(answer, model);
    if (!signal.aborted) sendJson(response, 200, whole);
    return;
  }
  const pieces = answerPieces(answer, model);
  // An error before the first piece still gets a status.
  let next = await pieces.next();
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-cache',
  });
  try {
    for (; !next.done && !signal.aborted; next = await pieces.next())
      await writeEvent(response, JSON.stringify(next.value), signal);
    await writeEvent(response, '[DONE]', signal);
  } catch (error) {
    const problem = asRequestError(error, options);
    await writeEvent(response, JSON.stringify(problem.body()), signal);
  }
  response.end();
}

/** Waits for the client where it reads slowly. */
async function writeEvent(
  response: ServerResponse,
  data: string,
  signal: AbortSignal,
): Promise<void> {
  if (signal.aborted || response.write(`data: ${data}\n\n`)) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    response.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
  });
}

async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxBytes)
      throw new RequestError(413, `the body has more than ${maxBytes} bytes; send less`);
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString('utf8')) as unknown;
  } catch (cause) {
    throw new RequestError(
      400,
      `the body is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
  }
}

function sendJson(
  response: ServerResponse,
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): void {
  const bytes = Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': bytes.length,
    ...headers,
  });
  response.end(bytes);
}

function asRequestError(error: unknown, options: ServeOptions): RequestError {
  if (error instanceof RequestError) return error;
  const message = error instanceof Error ? error.message : String(error);
  options.onError?.(message);
  return new RequestError(500, message, { type: 'server_error' });
}

function fail(response: ServerResponse, error: unknown, options: ServeOptions): void {
  const problem = asRequestError(error, options);
  if (response.destroyed || response.headersSent) {
    response.destroy();
    return;
  }
  sendJson(response, problem.status, problem.body(), {
    ...(problem.status === 429 ? { 'retry-after': '1' } : {}),
    ...(problem.status === 413 ? { connection: 'close' } : {}),
  });
}
