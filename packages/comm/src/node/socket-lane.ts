/**
 * Messages between this rank and one peer in one group: what this rank sends (`push`) and what it waits for (`post`).
 * Small messages are sent at once and lie at the receiver until they are asked for. For a large one sender and
 * receiver tell each other, in whichever order they come, and the payload goes straight into the destination.
 * A message that failed half way may still be written into its buffer.
 */
import { CommError } from '@realhf/api';
import { describe, EAGER_BYTES, same, seqOf } from './socket-frames.js';
import type { Frame, FrameType, Signature } from './socket-frames.js';
import type { Link, Transfer } from './socket-link.js';
import type { Sink } from './socket-reader.js';

/** One message of a caller. */
export interface Message {
  readonly sig: Signature;
  readonly bytes: Uint8Array;
  /** Told of every part that has gone or come. */
  readonly progress: () => void;
}

/** The other side does something else. */
export class Disagreement extends CommError {
  readonly mine: Signature;
  readonly theirs: Signature;
  constructor(mine: Signature, theirs: Signature) {
    const said = (sig: Signature) => describe(sig).replace('send of ', '');
    super(`expected ${said(mine)}, got ${said(theirs)}`);
    this.mine = mine;
    this.theirs = theirs;
  }
}

interface Settle {
  resolve(): void;
  reject(e: Error): void;
}
interface Push extends Message, Settle {
  /** All bytes are the socket's: a farewell of the peer is no failure of this message. */
  handed: boolean;
  transfer?: Transfer;
}
interface Post extends Message, Settle {
  at: number;
  granted: boolean;
}
interface Early {
  readonly sig: Signature;
  readonly bytes: Uint8Array;
  complete: boolean;
  post?: Post;
}

export class Lane {
  private readonly pushes = new Map<number, Push>();
  private readonly posts = new Map<number, Post>();
  private readonly early = new Map<number, Early>();
  private readonly wants = new Map<number, Signature>();
  private readonly grants = new Map<number, Signature>();
  /** Messages between the two ranks so far, and those of them that a time-out gave back to the next `receive`. */
  private sent = 0;
  private asked = 0;
  private readonly again: number[] = [];
  /** Collectives up to this one are over. */
  private over = 0;
  private readonly link: Link;
  private readonly group: number;
  constructor(link: Link, group: number) {
    this.link = link;
    this.group = group;
  }

  /** Key and end of the next message to the peer. */
  send(message: Message): { key: number; done: Promise<void> } {
    const key = -++this.sent;
    return { key, done: this.push(key, message) };
  }

  /** Key and end of the next message from the peer. */
  receive(message: Message): { key: number; done: Promise<void> } {
    const key = this.again.shift() ?? -++this.asked;
    return { key, done: this.post(key, message) };
  }

  push(key: number, message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      const push: Push = { ...message, resolve, reject, handed: false };
      this.pushes.set(key, push);
      const granted = this.grants.get(key);
      this.grants.delete(key);
      if (this.link.claim(push.bytes.length)) {
        push.handed = true;
        const frame = { type: 'eager', group: this.group, key, sig: push.sig } as const;
        this.link.write({ ...frame, bytes: push.bytes.length }, push.bytes, () => {
          if (this.pushes.get(key) === push) this.pushes.delete(key);
          resolve();
        });
        return;
      }
      if (granted === undefined || !same(granted, push.sig)) this.tell('want', key, push.sig);
      if (granted) this.granted(key, granted);
    });
  }

  post(key: number, message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      const post: Post = { ...message, resolve, reject, at: 0, granted: false };
      const early = this.early.get(key);
      if (early) {
        this.meet(key, early, post);
        return;
      }
      this.posts.set(key, post);
      const want = this.wants.get(key);
      this.wants.delete(key);
      if (want) this.wanted(key, want);
      else if (post.bytes.length > EAGER_BYTES) this.grant(key, post);
    });
  }

  /** Whether something that came, or is coming, waits to be received next. */
  get ready(): boolean {
    return this.early.has(this.again[0] ?? -(this.asked + 1));
  }

  /** A header came: where its payload goes. */
  begin(frame: Frame): Sink {
    const { type, key, sig } = frame;
    if (type === 'want') this.wanted(key, sig);
    else if (type === 'grant') this.granted(key, sig);
    else return type === 'eager' ? this.eager(frame) : this.chunk(frame);
    return { end: () => undefined };
  }

  /** Gives up one message between the two ranks. */
  cancel(key: number, e: Error): void {
    const post = this.posts.get(key);
    if (post?.at === 0) {
      this.again.push(key);
      this.again.sort((a, b) => b - a);
    }
    this.fail(e, (k) => k === key);
  }

  /** Fails what waits; `which` picks keys. */
  fail(e: Error, which: (key: number) => boolean = () => true): void {
    for (const [key, push] of this.pushes) if (which(key)) this.drop(key, push, e);
    for (const [key, post] of this.posts)
      if (which(key)) {
        this.posts.delete(key);
        post.reject(e);
      }
    for (const [key, early] of this.early)
      if (early.post && which(key)) {
        early.post.reject(e);
        this.forget(key, early);
      }
  }

  /** The peer closed: nothing comes any more, and what hasn't left won't arrive. */
  farewell(e: Error): void {
    for (const [key, push] of this.pushes) {
      if (push.handed || push.transfer?.at === push.bytes.length) {
        this.pushes.delete(key);
        push.resolve();
      } else this.drop(key, push, e);
    }
    this.fail(e);
  }

  /** Whether a message of this collective is still to come or to go. */
  busy(seq: number): boolean {
    return [...this.pushes.keys(), ...this.posts.keys()].some((key) => seqOf(key) === seq);
  }

  /** Collective `seq` is over, well or not: what is left of it, and what comes late, is thrown away. */
  finish(seq: number, e: Error): void {
    this.over = seq;
    this.fail(e, (key) => seqOf(key) === seq);
    for (const [key, early] of this.early) if (seqOf(key) === seq) this.forget(key, early);
    for (const map of [this.wants, this.grants])
      for (const key of map.keys()) if (seqOf(key) === seq) map.delete(key);
  }

  private granted(key: number, sig: Signature): void {
    const push = this.pushes.get(key);
    if (!push) {
      const past = key < 0 ? -key <= this.sent : seqOf(key) <= this.over;
      if (!past) this.grants.set(key, sig);
    } else if (!push.handed && !push.transfer) {
      if (same(sig, push.sig)) this.stream(key, push);
      else this.drop(key, push, new Disagreement(push.sig, sig));
    }
  }

  private stream(key: number, push: Push): void {
    push.transfer = {
      frame: { type: 'chunk', group: this.group, key, sig: push.sig },
      bytes: push.bytes,
      at: 0,
      cancelled: false,
      progress: push.progress,
      done: () => {
        if (this.pushes.get(key) === push) this.pushes.delete(key);
        push.resolve();
      },
    };
    this.link.transfer(push.transfer);
  }

  private drop(key: number, push: Push, e: Error): void {
    this.pushes.delete(key);
    if (push.transfer) push.transfer.cancelled = true;
    push.reject(e);
  }

  private wanted(key: number, sig: Signature): void {
    const post = this.posts.get(key);
    if (!post) {
      if (!this.past(key)) this.wants.set(key, sig);
    } else if (!same(sig, post.sig)) {
      this.posts.delete(key);
      post.reject(new Disagreement(post.sig, sig));
      // So that the sender hears of it too.
      this.tell('grant', key, post.sig);
    } else if (!post.granted) this.grant(key, post);
  }

  private grant(key: number, post: Post): void {
    post.granted = true;
    this.tell('grant', key, post.sig);
  }

  private eager({ key, sig, bytes }: Frame): Sink {
    const post = this.posts.get(key);
    const consume = (lain: boolean) => {
      this.link.consumed(bytes, lain);
    };
    if (post) {
      if (same(sig, post.sig) && bytes === post.bytes.length)
        return {
          target: post.bytes,
          end: () => {
            consume(false);
            this.complete(key, post);
          },
        };
      this.posts.delete(key);
      post.reject(new Disagreement(post.sig, sig));
    }
    if (post || this.past(key))
      return {
        end: () => {
          consume(false);
        },
      };
    if (!this.link.lay(bytes)) throw new CommError('more unasked messages than it may send');
    const early: Early = { sig, bytes: new Uint8Array(bytes), complete: false };
    this.early.set(key, early);
    return {
      target: early.bytes,
      end: () => {
        early.complete = true;
        if (this.early.get(key) !== early) consume(true);
        else if (early.post) this.meet(key, early, early.post);
      },
    };
  }

  /** An early message and who waits for it. */
  private meet(key: number, early: Early, post: Post): void {
    const fits = same(early.sig, post.sig) && early.bytes.length === post.bytes.length;
    if (fits && !early.complete) {
      early.post = post;
      return;
    }
    this.forget(key, early);
    if (fits) {
      post.bytes.set(early.bytes);
      post.progress();
      post.resolve();
    } else post.reject(new Disagreement(post.sig, early.sig));
  }

  private forget(key: number, early: Early): void {
    this.early.delete(key);
    if (early.complete) this.link.consumed(early.bytes.length, true);
  }

  private chunk({ key, bytes }: Frame): Sink {
    const post = this.posts.get(key);
    if (!post || post.at + bytes > post.bytes.length) {
      // Of a message that was given up: it can't be had again.
      const lost = this.again.indexOf(key);
      if (lost >= 0) this.again.splice(lost, 1);
      return { end: () => undefined };
    }
    const target = post.bytes.subarray(post.at, post.at + bytes);
    post.at += bytes;
    return {
      target,
      end: () => {
        post.progress();
        if (post.at === post.bytes.length) this.complete(key, post);
      },
    };
  }

  private complete(key: number, post: Post): void {
    if (this.posts.get(key) === post) this.posts.delete(key);
    post.progress();
    post.resolve();
  }

  /** Whether nobody will ask for this message any more. */
  private past(key: number): boolean {
    return key < 0 ? -key <= this.asked && !this.again.includes(key) : seqOf(key) <= this.over;
  }

  private tell(type: FrameType, key: number, sig: Signature): void {
    this.link.write({ type, group: this.group, key, sig, bytes: 0 });
  }
}
