/** Ordered messages between ranks of one process. What was sent before a rank closed can still be received. */
import { CommError } from '@realhf/api';
import { deadline } from './deadline.js';

export type Payload = Float32Array | Int32Array | Uint32Array;

/** `12 × f32`: how errors name a buffer. */
export function lengthOfKind(data: Payload | Float64Array): string {
  const kind = data.constructor.name.replace('Array', '').replace('Uint', 'u');
  return `${data.length} × ${kind.replace('Float', 'f').replace('Int', 'i')}`;
}

interface Waiter {
  resolve(data: Payload): void;
  reject(e: CommError): void;
}

interface Lane {
  readonly messages: Payload[];
  readonly waiters: Waiter[];
}

export class Mailbox {
  private readonly lanes: Lane[];
  private readonly size: number;
  private readonly timeoutMs: number;
  constructor(size: number, timeoutMs: number) {
    this.size = size;
    this.timeoutMs = timeoutMs;
    this.lanes = Array.from({ length: size * size }, () => ({ messages: [], waiters: [] }));
  }

  /** `data` is kept, not copied. */
  put(from: number, to: number, data: Payload): void {
    const lane = this.lane(from, to);
    const waiter = lane.waiters.shift();
    if (waiter) waiter.resolve(data);
    else lane.messages.push(data);
  }

  /** The next message from → to; CommError on time-out, or when nothing can come any more. */
  take(from: number, to: number, senderClosed: boolean): Promise<Payload> {
    const lane = this.lane(from, to);
    const message = lane.messages.shift();
    if (message) return Promise.resolve(message);
    if (senderClosed) return Promise.reject(new CommError(`recv on ${to}: rank ${from} is closed`));
    return new Promise((resolve, reject) => {
      const cancel = deadline(this.timeoutMs, () => {
        lane.waiters.splice(lane.waiters.indexOf(waiter), 1);
        reject(
          new CommError(
            `recv on ${to}: nothing from rank ${from} in ${this.timeoutMs} ms; is it alive, does it send?`,
          ),
        );
      });
      const waiter: Waiter = {
        resolve(data) {
          cancel();
          resolve(data);
        },
        reject(e) {
          cancel();
          reject(e);
        },
      };
      lane.waiters.push(waiter);
    });
  }

  /** Nothing comes from `rank` any more, and it waits for nothing. */
  leave(rank: number): void {
    for (let peer = 0; peer < this.size; peer++) {
      for (const w of this.lane(rank, peer).waiters.splice(0))
        w.reject(new CommError(`recv on ${peer}: rank ${rank} was closed`));
      const inbox = this.lane(peer, rank);
      inbox.messages.length = 0;
      for (const w of inbox.waiters.splice(0))
        w.reject(new CommError(`recv on ${rank}: this rank was closed`));
    }
  }

  private lane(from: number, to: number): Lane {
    return this.lanes[from * this.size + to]!;
  }
}
