/**
 * Functions of a user's file, run on worker threads: a slow one blocks nothing here, one that hangs is ended, one that
 * ends its thread is an error and no end of the run. A thread takes one call at a time.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { RealError } from '@realhf/api';

export interface ThreadPoolOptions {
  /** Absolute path of a .ts, .mts, .js or .mjs file. */
  readonly file: string;
  /** Functions that it exports; one alone may be the default export. */
  readonly names: readonly string[];
  readonly threads: number;
  /** Of one call. */
  readonly timeoutMs: number;
}

/** What went wrong in a call, for a caller that knows what the call was about. */
export class UserCodeError extends RealError {
  /** Entry of the batch at fault, where known. */
  readonly index: number | undefined;
  constructor(message: string, index?: number, cause?: unknown) {
    super(message, { cause });
    this.index = index;
  }
}

interface Call {
  readonly name: string;
  readonly argument: unknown;
  readonly batched: boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: UserCodeError) => void;
}
interface ThreadReply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
  readonly index?: number;
  readonly stack?: string;
}
interface Thread {
  readonly worker: Worker;
  call?: Call;
  timer?: NodeJS.Timeout;
}

/** This package's folder, from the sources as from dist. */
const packageDir = dirname(createRequire(import.meta.url).resolve('@realhf/cli/package.json'));

export class ThreadPool {
  private readonly options: ThreadPoolOptions;
  private readonly threads = new Set<Thread>();
  private readonly waiting: Call[] = [];
  private calls = 0;

  /** Threads start with the first calls. */
  constructor(options: ThreadPoolOptions) {
    this.options = options;
  }

  get size(): number {
    return this.options.threads;
  }

  /** Throws UserCodeError that names the file. `batched`: of an error, find the entry of the lists in `argument`. */
  call(name: string, argument: unknown, batched = false): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ name, argument, batched, resolve, reject });
      this.next();
    });
  }

  private next(): void {
    if (this.waiting.length === 0) return;
    const idle = [...this.threads].find((t) => !t.call);
    const thread = idle ?? (this.threads.size < this.options.threads ? this.start() : undefined);
    if (!thread) return;
    const call = this.waiting.shift()!;
    thread.call = call;
    const { timeoutMs } = this.options;
    thread.timer = setTimeout(() => {
      this.drop(thread, `took more than ${timeoutMs / 1000} s`);
    }, timeoutMs);
    // Held alive only while it works: an idle thread must not keep a finished run from ending.
    thread.worker.ref();
    thread.worker.postMessage({
      id: this.calls++,
      name: call.name,
      argument: call.argument,
      batched: call.batched,
    });
  }

  private start(): Thread {
    const { file, names } = this.options;
    const worker = new Worker(join(packageDir, 'bin', 'user-thread.mjs'), {
      workerData: { file, names },
    });
    const thread: Thread = { worker };
    this.threads.add(thread);
    worker.on('message', (reply: ThreadReply) => {
      const call = this.done(thread);
      worker.unref();
      if (reply.error === undefined) call?.resolve(reply.value);
      else call?.reject(this.error(`failed: ${reply.error}`, reply.index, reply.stack));
      this.next();
    });
    worker.on('error', (e) => {
      this.drop(thread, `failed: ${e instanceof Error ? e.message : String(e)}`);
    });
    worker.on('exit', (code) => {
      this.drop(thread, `ended its thread with exit code ${code}`);
    });
    return thread;
  }

  private drop(thread: Thread, what: string): void {
    if (!this.threads.delete(thread)) return;
    this.done(thread)?.reject(this.error(what));
    void thread.worker.terminate();
    this.next();
  }

  private done(thread: Thread): Call | undefined {
    const { call } = thread;
    clearTimeout(thread.timer);
    delete thread.call;
    return call;
  }

  private error(what: string, index?: number, cause?: unknown): UserCodeError {
    return new UserCodeError(`${this.options.file} ${what}`, index, cause);
  }
}
