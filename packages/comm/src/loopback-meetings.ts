/**
 * Meetings: the n-th collective of a group is complete when every rank has made its n-th collective call. The last
 * to arrive runs the work for all. A meeting that can't be complete fails for those who wait and for those who come.
 */
import { CommError } from '@realhf/api';
import { deadline } from './deadline.js';
import { lengthOfKind } from './loopback-mailbox.js';
import type { Payload } from './loopback-mailbox.js';

/** What one rank brings. */
export interface Arrival {
  /** Name of the collective; all ranks must agree on it and on the length and type of `data`. */
  readonly kind: string;
  readonly data: Payload | Float64Array;
  readonly into?: Payload;
}

interface Meeting {
  readonly arrivals: (Arrival | undefined)[];
  readonly settle: { resolve(): void; reject(e: CommError): void; cancel(): void }[];
  failure?: CommError;
  /** Ranks that have arrived or been turned away. */
  seen: number;
}

export class Meetings {
  private readonly next: number[];
  private readonly open = new Map<number, Meeting>();
  private readonly gone: boolean[];
  private readonly size: number;
  private readonly timeoutMs: number;
  constructor(size: number, timeoutMs: number) {
    this.size = size;
    this.timeoutMs = timeoutMs;
    this.next = new Array<number>(size).fill(0);
    this.gone = new Array<boolean>(size).fill(false);
  }

  /** Resolves when all ranks have arrived and `work` has run once. */
  arrive(rank: number, mine: Arrival, work: (all: readonly Arrival[]) => void): Promise<void> {
    const number = this.next[rank]!;
    this.next[rank] = number + 1;
    let meeting = this.open.get(number);
    if (meeting === undefined) {
      meeting = { arrivals: new Array<Arrival | undefined>(this.size), settle: [], seen: 0 };
      this.open.set(number, meeting);
      const gone = this.gone.findIndex((g, r) => g && this.next[r]! <= number);
      if (gone >= 0) meeting.failure = new CommError(`${mine.kind}: rank ${gone} is closed`);
    }
    if (++meeting.seen === this.size) this.open.delete(number);
    if (meeting.failure) return Promise.reject(meeting.failure);
    meeting.arrivals[rank] = mine;
    const promise = this.wait(meeting, mine.kind, rank);
    const first = meeting.arrivals.findIndex((a) => a !== undefined);
    const other = meeting.arrivals[first]!;
    if (other.kind !== mine.kind || lengthOfKind(other.data) !== lengthOfKind(mine.data))
      fail(meeting, differs(meeting));
    else if (meeting.seen === this.size) {
      work(meeting.arrivals as Arrival[]);
      for (const s of meeting.settle) {
        s.cancel();
        s.resolve();
      }
    }
    return promise;
  }

  /** Fails every meeting that still needs `rank`. */
  leave(rank: number): void {
    this.gone[rank] = true;
    for (const [number, meeting] of this.open) {
      const kind = meeting.arrivals.find((a) => a !== undefined)?.kind ?? 'collective';
      if (this.next[rank]! <= number || meeting.arrivals[rank] !== undefined)
        fail(meeting, new CommError(`${kind}: rank ${rank} was closed`));
    }
  }

  private wait(meeting: Meeting, kind: string, rank: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const cancel = deadline(this.timeoutMs, () => {
        const missing = [...meeting.arrivals.entries()]
          .filter(([, a]) => a === undefined)
          .map(([r]) => r);
        fail(
          meeting,
          new CommError(
            `${kind} on rank ${rank}: rank ${missing.join(', ')} did not come in ${this.timeoutMs} ms; is it alive, does it make the same calls?`,
          ),
        );
      });
      meeting.settle.push({ resolve, reject, cancel });
    });
  }
}

function fail(meeting: Meeting, failure: CommError): void {
  if (meeting.failure) return;
  meeting.failure = failure;
  for (const s of meeting.settle) {
    s.cancel();
    s.reject(failure);
  }
}

function differs(meeting: Meeting): CommError {
  const said = [...meeting.arrivals.entries()]
    .filter((e): e is [number, Arrival] => e[1] !== undefined)
    .map(([r, a]) => `rank ${r}: ${a.kind} of ${lengthOfKind(a.data)}`);
  return new CommError(`ranks disagree on a collective: ${said.join('; ')}`);
}
