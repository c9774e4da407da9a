/**
 * One group of ranks over a mesh of sockets. Collectives of a group run one after another, in the order of the calls;
 * groups, and messages between two ranks, run beside each other. An operation's time-out starts anew with every part
 * of its data that moves.
 */
import { CommError } from '@realhf/api';
import type { Communicator } from '@realhf/api';
import { Mailbox } from '../loopback-mailbox.js';
import type { Payload } from '../loopback-mailbox.js';
import { allGather, allReduce, barrier, broadcast, reduceScatter } from './socket-collectives.js';
import type { Exchange, ReduceOp } from './socket-collectives.js';
import { bytesOf, describe, keyOf, signature } from './socket-frames.js';
import type { Signature } from './socket-frames.js';
import type { Inbox, Listener } from './socket-inbox.js';
import { Disagreement } from './socket-lane.js';
import type { Lane, Message } from './socket-lane.js';
import { groupId, refusal } from './socket-mesh.js';
import type { Mesh } from './socket-mesh.js';
import { watchdog } from './watchdog.js';

export class SocketGroup implements Communicator, Listener {
  readonly rank: number;
  readonly size: number;
  private readonly mesh: Mesh;
  private readonly timeoutMs: number;
  /** Members by their ranks in the whole communicator. */
  private readonly members: readonly number[];
  private readonly path: string;
  private readonly parent: SocketGroup | undefined;
  private readonly id: number;
  private readonly inbox: Inbox;
  private readonly self: Mailbox;
  private readonly groupCalls = new Map<string, number>();
  private readonly children: SocketGroup[] = [];
  private isClosed = false;
  private seq = 0;
  private tail: Promise<unknown> = Promise.resolve();
  /** The collective that runs. */
  private running:
    { readonly seq: number; readonly fail: (e: CommError, told?: boolean) => void } | undefined;

  constructor(
    mesh: Mesh,
    timeoutMs: number,
    members: readonly number[],
    path: string,
    parent?: SocketGroup,
  ) {
    this.mesh = mesh;
    this.timeoutMs = timeoutMs;
    this.members = members;
    this.path = path;
    this.parent = parent;
    this.rank = members.indexOf(mesh.rank);
    this.size = members.length;
    this.id = groupId(path);
    this.inbox = mesh.inbox(this.id);
    this.inbox.listener = this;
    this.self = new Mailbox(1, timeoutMs);
  }

  async send(to: number, data: Payload): Promise<void> {
    const sig = signature('send', data);
    const what = `${describe(sig)} from rank ${this.name(this.rank)} to rank ${this.name(to)}`;
    this.check(what, to);
    if (to === this.rank) {
      this.self.put(0, 0, data.slice());
      return;
    }
    if (this.hasLeft(this.members[to]!)) throw new CommError(`${what}: rank ${to} is closed`);
    await this.pass(what, to, sig, data, (lane, message) => lane.send(message));
  }

  async recv(from: number, into: Payload): Promise<void> {
    const sig = signature('send', into);
    const size = `${into.length} × ${sig.kind}`;
    const what = `recv of ${size} on rank ${this.name(this.rank)} from rank ${this.name(from)}`;
    this.check(what, from);
    if (from === this.rank) {
      const data = await this.self.take(0, 0, false);
      const theirs = signature('send', data);
      if (theirs.kind !== sig.kind || theirs.elements !== sig.elements)
        throw new CommError(`${what}: ${new Disagreement(sig, theirs).message}`);
      into.set(data);
      return;
    }
    const lane = this.inbox.lane(this.members[from]!);
    if (this.hasLeft(this.members[from]!) && !lane.ready)
      throw new CommError(`${what}: rank ${from} is closed`);
    await this.pass(what, from, sig, into, (l, message) => l.receive(message));
  }

  broadcast(data: Payload, root: number): Promise<void> {
    return this.collective(signature('broadcast', data, root), root, (x) =>
      broadcast(x, bytesOf(data), root),
    );
  }

  allReduce(data: Float32Array | Float64Array, op: ReduceOp = 'sum'): Promise<void> {
    return this.collective(signature(`allReduce ${op}`, data), this.rank, (x) =>
      allReduce(x, data, op),
    );
  }

  async allGather(data: Payload, into: Payload): Promise<void> {
    const needs = data.length * this.size;
    if (into.length !== needs || data.BYTES_PER_ELEMENT !== into.BYTES_PER_ELEMENT)
      throw this.error(`allGather of ${data.length} elements into ${into.length}, needs ${needs}`);
    await this.collective(signature('allGather', data), this.rank, (x) =>
      allGather(x, bytesOf(data), bytesOf(into)),
    );
  }

  async reduceScatter(data: Float32Array, into: Float32Array): Promise<void> {
    const needs = into.length * this.size;
    if (data.length !== needs)
      throw this.error(
        `reduceScatter of ${data.length} elements into ${into.length}, needs ${needs}`,
      );
    await this.collective(signature('reduceScatter', data), this.rank, (x) =>
      reduceScatter(x, data, into),
    );
  }

  barrier(): Promise<void> {
    return this.collective(signature('barrier', new Float32Array(0)), this.rank, barrier);
  }

  group(ranks: readonly number[]): Communicator | undefined {
    const odd = ranks.find(
      (r, i) => !Number.isInteger(r) || r < 0 || r >= this.size || ranks.indexOf(r) !== i,
    );
    if (odd !== undefined || ranks.length === 0)
      throw new CommError(
        `group of ranks ${ranks.join(', ')}: they must be different and within 0…${this.size - 1}`,
      );
    if (!ranks.includes(this.rank)) return undefined;
    const name = ranks.join(',');
    const call = this.groupCalls.get(name) ?? 0;
    this.groupCalls.set(name, call + 1);
    const members = ranks.map((r) => this.members[r]!);
    const path = `${this.path}/${name}#${call}`;
    const made = new SocketGroup(this.mesh, this.timeoutMs, members, path, this);
    this.children.push(made);
    return made;
  }

  async close(): Promise<void> {
    if (this.isClosed) return;
    this.mesh.leave(this.id, this.members);
    this.stop();
    if (!this.parent) await this.mesh.close();
  }

  broken(why: string): void {
    const e = new CommError(why);
    this.running?.fail(e);
    for (const rank of this.members) if (rank !== this.mesh.rank) this.inbox.lane(rank).fail(e);
  }

  left(rank: number): void {
    const at = this.members.indexOf(rank);
    if (at < 0 || rank === this.mesh.rank || !this.hasLeft(rank)) return;
    const lane = this.inbox.lane(rank);
    const e = new CommError(`rank ${this.name(at)} was closed`);
    lane.farewell(e);
    if (this.running && !this.inbox.hasCome(rank, this.running.seq)) this.running.fail(e);
  }

  aborted(seq: number, why: string): void {
    if (this.running?.seq === seq) this.running.fail(new CommError(why), true);
    else if (seq > this.seq) this.inbox.aborts.set(seq, why);
  }

  /** One message to or from a peer, with its time-out. */
  private async pass(
    what: string,
    peer: number,
    sig: Signature,
    data: Payload,
    begin: (lane: Lane, message: Message) => { key: number; done: Promise<void> },
  ): Promise<void> {
    const lane = this.inbox.lane(this.members[peer]!);
    const dog = watchdog(this.timeoutMs, () => {
      lane.cancel(
        key,
        new CommError(
          `nothing moved for ${this.timeoutMs} ms; is rank ${peer} alive, does it make the other call?`,
        ),
      );
    });
    const { key, done } = begin(lane, { sig, bytes: bytesOf(data), progress: dog.alive });
    try {
      await done;
    } catch (cause) {
      throw new CommError(`${what}: ${(cause as Error).message}`, { cause });
    } finally {
      dog.end();
    }
  }

  private async collective(
    sig: Signature,
    root: number,
    work: (x: Exchange) => Promise<void>,
  ): Promise<void> {
    this.check(describe(sig), root);
    const turn = this.tail.then(() => this.run(sig, work));
    this.tail = turn.catch(() => undefined);
    await turn;
  }

  private async run(sig: Signature, work: (x: Exchange) => Promise<void>): Promise<void> {
    const seq = ++this.seq;
    const what = `${describe(sig)} on rank ${this.name(this.rank)}`;
    const lanes = this.members.map((rank) => this.inbox.lane(rank));
    let failure: CommError | undefined;
    const fail = (e: CommError, told = false) => {
      if (failure) return;
      failure = e;
      // Who found out tells the others; who was told does not.
      if (!told) this.tell(seq, e);
      for (const lane of lanes) lane.finish(seq, e);
    };
    const dog = watchdog(this.timeoutMs, () => {
      fail(new CommError(this.missing(seq)));
    });
    const ask = (peer: number, start: (lane: Lane) => Promise<void>): Promise<void> => {
      const done = (failure ? Promise.reject(failure) : start(lanes[peer]!)).catch((e: unknown) => {
        fail(this.reason(e, peer));
        throw e;
      });
      done.catch(() => undefined);
      return done;
    };
    const message = (bytes: Uint8Array): Message => ({ sig, bytes, progress: dog.alive });
    this.running = { seq, fail };
    try {
      this.check(what, this.rank);
      const aborted = this.inbox.aborts.get(seq);
      this.inbox.aborts.delete(seq);
      if (aborted !== undefined) fail(new CommError(aborted), true);
      const gone = this.members.findIndex((rank) => this.hasLeft(rank));
      if (gone >= 0) fail(new CommError(`rank ${this.name(gone)} is closed`));
      await work({
        rank: this.rank,
        size: this.size,
        push: (to, sub, bytes) => ask(to, (lane) => lane.push(keyOf(seq, sub), message(bytes))),
        post: (from, sub, bytes) => ask(from, (lane) => lane.post(keyOf(seq, sub), message(bytes))),
      });
    } catch (cause) {
      const why = failure ?? cause;
      throw new CommError(`${what}: ${why instanceof Error ? why.message : String(why)}`, {
        cause,
      });
    } finally {
      dog.end();
      this.running = undefined;
      for (const lane of lanes) lane.finish(seq, new CommError('this collective is over'));
    }
  }

  /** Tells the others that a collective can't be complete. */
  private tell(seq: number, e: CommError): void {
    const why = `rank ${this.name(this.rank)} gave up: ${e.message}`;
    this.mesh.abort(this.id, keyOf(seq, 0), this.members, why);
  }

  private reason(e: unknown, peer: number): CommError {
    if (e instanceof Disagreement)
      return new CommError(
        `ranks disagree on a collective: rank ${this.name(this.rank)}: ${describe(e.mine)}; rank ${this.name(peer)}: ${describe(e.theirs)}`,
      );
    return e instanceof CommError ? e : new CommError(String(e), { cause: e });
  }

  /** Who is to blame for a collective that stands still. */
  private missing(seq: number): string {
    const peers = this.members.flatMap((rank, r) => (r === this.rank ? [] : [{ rank, r }]));
    const absent = peers.filter(({ rank }) => !this.inbox.hasCome(rank, seq));
    const stuck = peers.filter(({ rank }) => this.inbox.lane(rank).busy(seq));
    const list = (who: typeof peers) => who.map(({ r }) => this.name(r)).join(', ');
    return absent.length > 0
      ? `rank ${list(absent)} did not come in ${this.timeoutMs} ms; is it alive, does it make the same calls?`
      : `nothing from rank ${list(stuck)} for ${this.timeoutMs} ms; is it alive?`;
  }

  /** Closes this rank in this group and in those made from it. */
  private stop(): void {
    this.isClosed = true;
    this.self.leave(0);
    this.broken('this rank was closed');
    for (const child of this.children) child.stop();
  }

  private hasLeft(rank: number): boolean {
    return this.inbox.left.has(rank) || (this.parent?.hasLeft(rank) ?? false);
  }

  /** `1`, or `1 (5 of all)` where a group numbers its ranks anew. */
  private name(r: number): string {
    const rank = this.members[r];
    return rank === undefined || rank === r ? String(r) : `${r} (${rank} of all)`;
  }

  private check(what: string, peer: number): void {
    if (!Number.isInteger(peer) || peer < 0 || peer >= this.size)
      throw this.error(`${what}: rank ${peer} is outside 0…${this.size - 1}`);
    const refused = refusal(this.mesh, what);
    if (refused) throw refused;
    if (this.isClosed) throw this.error(`${what}: this rank is closed`);
  }

  private error(why: string): CommError {
    return new CommError(`rank ${this.name(this.rank)} of ${this.size}: ${why}`);
  }
}
