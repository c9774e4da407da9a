/**
 * How the ranks of a communicator find and miss each other, by names: the unique id, a sign of life of every rank,
 * and what a rank that gave up was waiting in.
 */
import { CommError, RealError } from '@realhf/api';
import type { NameResolve } from '@realhf/comm';

export interface PeersOptions {
  readonly names: NameResolve;
  /** Prefix of this communicator's names; the same on all its ranks and of no other communicator. */
  readonly key: string;
  readonly rank: number;
  readonly size: number;
  /** Seconds after which a dead rank's sign of life is gone. Default 5. */
  readonly lifeSeconds?: number;
}

export class Peers {
  private readonly names: NameResolve;
  private readonly key: string;
  private readonly rank: number;
  private readonly size: number;
  private readonly lifeSeconds: number;

  constructor(options: PeersOptions) {
    this.names = options.names;
    this.key = options.key;
    this.rank = options.rank;
    this.size = options.size;
    this.lifeSeconds = options.lifeSeconds ?? 5;
  }

  /** Rank 0's id, at every rank; this rank is alive from now on. */
  async exchange(create: () => Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    const life = { ttlSeconds: this.lifeSeconds, replace: true };
    await this.names.delete(`${this.key}/failed/${this.rank}`);
    await this.names.add(`${this.key}/alive/${this.rank}`, 'alive', life);
    if (this.rank === 0) {
      const id = create();
      await this.names.add(`${this.key}/id`, toHex(id), life);
      return id;
    }
    // A wait for a name need not keep the process alive.
    const alive = setInterval(() => undefined, 1000);
    try {
      return fromHex(await this.names.wait(`${this.key}/id`, { timeoutMs }));
    } finally {
      clearInterval(alive);
    }
  }

  /** Tells the others in what this rank gave up. */
  async giveUp(what: string): Promise<void> {
    // It stays when this rank leaves: the others must not take it for dead.
    await this.names.add(`${this.key}/failed/${this.rank}`, what, { replace: true });
  }

  /** Which ranks are to blame, in words; `waitedMs` is what of a dead rank's sign of life has passed surely. */
  async blame(waitedMs: number): Promise<string> {
    const until = performance.now() + this.lifeSeconds * 1500 - waitedMs;
    try {
      for (;;) {
        const there = await this.names.getSubtree(this.key);
        const others = Array.from({ length: this.size }, (_, r) => r).filter(
          (r) => r !== this.rank,
        );
        const failed = (r: number) => there.get(`${this.key}/failed/${r}`);
        const dead = others.filter(
          (r) => !there.has(`${this.key}/alive/${r}`) && failed(r) === undefined,
        );
        const gaveUp = others.flatMap((r) => {
          const what = failed(r);
          return what === undefined ? [] : [`rank ${r} gave up in ${what}`];
        });
        if (dead.length > 0)
          return [`${list(dead)} ${dead.length > 1 ? 'are' : 'is'} gone`, ...gaveUp].join(', ');
        if (performance.now() > until)
          return gaveUp.join(', ') || `all of ranks ${others.join(', ')} are alive`;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    } catch (e) {
      if (!RealError.is(e)) throw e;
      return `who is gone can't be told (${e.message})`;
    }
  }

  async leave(): Promise<void> {
    try {
      await this.names.delete(`${this.key}/alive/${this.rank}`);
    } catch (e) {
      if (!CommError.is(e)) throw e;
    }
  }
}

function list(ranks: readonly number[]): string {
  return ranks.length > 1 ? `ranks ${ranks.join(', ')}` : `rank ${ranks.join('')}`;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

function fromHex(text: string): Uint8Array {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}
