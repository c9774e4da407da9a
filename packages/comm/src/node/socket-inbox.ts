/**
 * What has come for one group, whether this rank has made the group yet or not: a lane for each peer, who has come to
 * which collective, which collectives peers gave up, and who has left the group.
 */
import { seqOf } from './socket-frames.js';
import type { Frame } from './socket-frames.js';
import { Lane } from './socket-lane.js';
import type { Link } from './socket-link.js';
import type { Sink } from './socket-reader.js';

/** Told by the inbox: the group of this rank, once it is made. */
export interface Listener {
  /** A peer gave up a collective. */
  aborted(seq: number, why: string): void;
  /** A peer left this group or one that it was made from. */
  left(rank: number): void;
  /** The communicator is of no use any more. */
  broken(why: string): void;
}

export class Inbox {
  /** Peers that have left, by their ranks in the whole communicator, as all ranks here. */
  readonly left = new Set<number>();
  /** Collectives that a peer gave up before this rank came to them. */
  readonly aborts = new Map<number, string>();
  listener: Listener | undefined;
  private readonly lanes = new Map<number, Lane>();
  private readonly seen = new Map<number, number>();
  private readonly links: readonly Link[];
  private readonly group: number;
  constructor(links: readonly Link[], group: number) {
    this.links = links;
    this.group = group;
  }

  lane(rank: number): Lane {
    let lane = this.lanes.get(rank);
    if (!lane) {
      lane = new Lane(this.links[rank]!, this.group);
      this.lanes.set(rank, lane);
    }
    return lane;
  }

  /** Whether `rank` has come to collective `seq`. */
  hasCome(rank: number, seq: number): boolean {
    return (this.seen.get(rank) ?? 0) >= seq;
  }

  begin(rank: number, frame: Frame): Sink {
    const seq = seqOf(frame.key);
    this.seen.set(rank, Math.max(seq, this.seen.get(rank) ?? 0));
    if (frame.type !== 'abort') return this.lane(rank).begin(frame);
    const target = new Uint8Array(frame.bytes);
    return {
      target,
      end: () => {
        const why = new TextDecoder().decode(target);
        if (this.listener) this.listener.aborted(seq, why);
        else this.aborts.set(seq, why);
      },
    };
  }
}
