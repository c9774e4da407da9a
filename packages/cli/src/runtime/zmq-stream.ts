/**
 * ZmqStream: the master's end of the control plane, a ROUTER socket on 127.0.0.1 that the workers' DEALERs connect to.
 * Requests of one worker are sent in the order of the calls of `request` and answered in that order; several may be in
 * flight. Frames: [worker, 'flow', 'run' or 'engine', number of the request, JSON, tensors]. CURVE keeps strangers out (keys.ts).
 */
import { CommError, type SequenceSample } from '@realhf/api';
import {
  decodeMessage,
  encodeMessage,
  errorOf,
  type Reply,
  type ReplyTo,
  type Request,
  type Stream,
} from '@realhf/dataflow';
import { Router } from 'zeromq';

import { decodeAnswer, type EngineAnswer, type EngineRequest } from './engine-wire.js';
import { serverOptions, type RunKeys } from './keys.js';
import type { RuntimeReply, RuntimeRequest } from './messages.js';
import { encodeSample } from './sample-wire.js';

interface Waiting {
  readonly worker: string;
  resolve(answer: Answer): void;
  reject(error: Error): void;
}

interface Answer {
  readonly text: string;
  readonly frames: readonly Uint8Array[];
}

/** `error` is that of a failed request in a process elsewhere. */
export interface RuntimeFailure {
  readonly error: { readonly name: string; readonly message: string };
}

export class ZmqStream implements Stream {
  readonly workers: readonly string[];
  private readonly socket: Router;
  private readonly waiting = new Map<string, Waiting>();
  private readonly hellos = new Set<string>();
  private onHello: () => void = () => undefined;
  private sending: Promise<void> = Promise.resolve();
  private failure: Error | undefined;
  private count = 0;

  private constructor(workers: readonly string[], socket: Router) {
    this.workers = workers;
    this.socket = socket;
  }

  /** Binds a free port of this machine. */
  static async bind(
    workers: readonly string[],
    keys: RunKeys,
  ): Promise<{ stream: ZmqStream; address: string }> {
    const socket = new Router({ ...serverOptions(keys), linger: 0, sendHighWaterMark: 0 });
    await socket.bind('tcp://127.0.0.1:*');
    const stream = new ZmqStream(workers, socket);
    void stream.listen();
    const address = socket.lastEndpoint;
    if (address === null) throw new CommError('the control socket has no address after bind');
    return { stream, address };
  }

  /** Resolves when every worker has said hello. CommError names those that have not within `timeoutMs`. */
  async connected(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const check = () => {
        if (this.failure) reject(this.failure);
        else if (this.workers.every((w) => this.hellos.has(w))) resolve();
        else return;
        clearTimeout(timer);
      };
      const timer = setTimeout(() => {
        const missing = this.workers.filter((w) => !this.hellos.has(w));
        reject(
          new CommError(
            `waited ${timeoutMs} ms for the hello of ${missing.join(', ')} (${this.hellos.size} of ${this.workers.length} workers came); see their logs`,
          ),
        );
      }, timeoutMs);
      this.onHello = check;
      check();
    });
  }

  async request<R extends Request>(worker: string, message: R): Promise<ReplyTo<R>> {
    const { text } = await this.ask(worker, 'flow', encodeMessage(message));
    const reply = decodeMessage(text) as Reply;
    if (reply.type === 'error') throw errorOf(reply.name, `${worker}: ${reply.message}`);
    return reply as ReplyTo<R>;
  }

  /** In the same order as `request`. */
  async command<R extends RuntimeRequest>(worker: string, message: R): Promise<RuntimeReply<R>> {
    const { text } = await this.ask(worker, 'run', JSON.stringify(message));
    const reply = JSON.parse(text) as { value: RuntimeReply<R> } | RuntimeFailure;
    if ('error' in reply) throw errorOf(reply.error.name, `${worker}: ${reply.error.message}`);
    return reply.value;
  }

  /** A method of a replica's engine on a sample, in the same order as `request`. */
  async engine(
    worker: string,
    request: EngineRequest,
    input: SequenceSample,
  ): Promise<EngineAnswer> {
    const sample = encodeSample(input);
    const { text, frames } = await this.ask(worker, 'engine', JSON.stringify(request), sample);
    const { error } = JSON.parse(text) as Partial<RuntimeFailure>;
    if (error) throw errorOf(error.name, `${worker}: ${error.message}`);
    return decodeAnswer(frames);
  }

  /** A command to all workers at once; throws the first error after all have answered. */
  async commandAll<R extends RuntimeRequest>(message: R): Promise<RuntimeReply<R>[]> {
    const all = await Promise.allSettled(this.workers.map((w) => this.command(w, message)));
    return all.map((a) => {
      if (a.status === 'rejected') throw a.reason;
      return a.value;
    });
  }

  /** Rejects all requests, those in flight and those to come: a worker is gone. The first error stays. */
  fail(error: Error): void {
    this.failure ??= error;
    for (const w of this.waiting.values()) w.reject(this.failure);
    this.waiting.clear();
    this.onHello();
  }

  close(): void {
    this.fail(new CommError('the control socket was closed'));
    this.socket.close();
  }

  /** Synchronous up to the place in the line of sends. */
  private ask(
    worker: string,
    kind: 'flow' | 'run' | 'engine',
    text: string,
    frames: readonly (string | Uint8Array)[] = [],
  ): Promise<Answer> {
    if (this.failure) return Promise.reject(this.failure);
    if (!this.workers.includes(worker))
      return Promise.reject(
        new CommError(`no worker '${worker}'; there are ${this.workers.join(', ')}`),
      );
    const id = String(this.count++);
    return new Promise<Answer>((resolve, reject) => {
      this.waiting.set(id, { worker, resolve, reject });
      // One send at a time: the socket refuses a second one.
      this.sending = this.sending
        .then(() => this.socket.send([worker, kind, id, text, ...frames]))
        .catch((cause: unknown) => {
          this.waiting.delete(id);
          reject(new CommError(`could not send to ${worker}`, { cause }));
        });
    });
  }

  private async listen(): Promise<void> {
    for await (const [from, what, number, head, ...frames] of this.socket) {
      const worker = String(from);
      const kind = String(what);
      if (kind === 'hello') {
        this.hellos.add(worker);
        this.onHello();
        continue;
      }
      const id = String(number);
      const waiting = this.waiting.get(id);
      if (waiting?.worker !== worker) continue;
      this.waiting.delete(id);
      waiting.resolve({ text: String(head), frames });
    }
  }
}
