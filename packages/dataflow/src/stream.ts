/**
 * Stream: how requests reach workers. The in-process one really encodes and decodes every message, so that whatever
 * works with it works over sockets; it hands each worker one request at a time, in order.
 */
import { CommError } from '@realhf/api';
import {
  decodeMessage,
  encodeMessage,
  errorOf,
  type Reply,
  type ReplyTo,
  type Request,
} from './protocol.js';

/** How a master reaches its workers. */
export interface Stream {
  /** Names of the workers that can be asked. */
  readonly workers: readonly string[];
  /** Resolves with the worker's reply. Rejects with the worker's error (same class and message), or CommError. */
  request<R extends Request>(worker: string, message: R): Promise<ReplyTo<R>>;
}

/** The other end: answers every request and never throws (errors are replies). */
export interface RequestHandler {
  handle(request: Request): Promise<Reply>;
}

/** Workers in this process by name. */
export class InProcessStream implements Stream {
  private readonly handlers: ReadonlyMap<string, RequestHandler>;
  private readonly queues = new Map<string, Promise<unknown>>();

  constructor(handlers: Readonly<Record<string, RequestHandler>>) {
    this.handlers = new Map(Object.entries(handlers));
  }

  get workers(): readonly string[] {
    return [...this.handlers.keys()];
  }

  async request<R extends Request>(worker: string, message: R): Promise<ReplyTo<R>> {
    const handler = this.handlers.get(worker);
    if (!handler)
      throw new CommError(
        `no worker '${worker}' to send '${message.type}' to; there are ${this.workers.join(', ') || 'none'}`,
      );
    const text = encodeMessage(message);
    const answer = (this.queues.get(worker) ?? Promise.resolve()).then(async () =>
      encodeMessage(await handler.handle(decodeMessage(text) as Request)),
    );
    this.queues.set(
      worker,
      answer.catch(() => undefined),
    );
    const reply = decodeMessage(await answer) as Reply;
    if (reply.type === 'error') throw errorOf(reply.name, reply.message);
    return reply as ReplyTo<R>;
  }
}
