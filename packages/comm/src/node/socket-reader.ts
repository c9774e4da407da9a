/**
 * Bytes of a socket → frames. Headers and small payloads pass through a fixed buffer; of a large payload what has come
 * with its header is copied once, the rest is read by the kernel straight into its destination.
 */
import { decode, HEADER_BYTES } from './socket-frames.js';
import type { Frame } from './socket-frames.js';

/** Where a frame's payload goes; without `target` it is thrown away. */
export interface Sink {
  readonly target?: Uint8Array;
  end(): void;
}

const SCRATCH_BYTES = 64 << 10;
/** Below this a read of its own isn't worth it. */
const DIRECT_BYTES = 32 << 10;

export class FrameReader {
  private readonly scratch = new Uint8Array(SCRATCH_BYTES);
  private readonly header = new Uint8Array(HEADER_BYTES);
  private headerAt = 0;
  private sink: Sink | undefined;
  /** Bytes of the payload that have come, and that are still to come. */
  private at = 0;
  private left = 0;
  private direct = false;
  private readonly begin: (frame: Frame) => Sink;

  /** `begin` is told of every header and says where the payload goes. */
  constructor(begin: (frame: Frame) => Sink) {
    this.begin = begin;
  }

  /** Where the socket should put what it reads next. */
  buffer(): Uint8Array {
    const target = this.sink?.target;
    this.direct = target !== undefined && this.left >= DIRECT_BYTES;
    return this.direct ? target!.subarray(this.at, this.at + this.left) : this.scratch;
  }

  /** `n` bytes are in the last `buffer()`. Throws CommError for what isn't a frame. */
  received(n: number): void {
    if (!this.direct) {
      this.feed(this.scratch.subarray(0, n));
      return;
    }
    this.at += n;
    this.left -= n;
    if (this.left === 0) this.finish();
  }

  /** Bytes that were read elsewhere. */
  feed(bytes: Uint8Array): void {
    let from = 0;
    while (from < bytes.length) {
      if (this.sink === undefined) {
        const take = Math.min(HEADER_BYTES - this.headerAt, bytes.length - from);
        this.header.set(bytes.subarray(from, from + take), this.headerAt);
        this.headerAt += take;
        from += take;
        if (this.headerAt < HEADER_BYTES) return;
        this.headerAt = 0;
        const frame = decode(this.header);
        this.at = 0;
        this.left = frame.bytes;
        this.sink = this.begin(frame);
      } else {
        const take = Math.min(this.left, bytes.length - from);
        this.sink.target?.set(bytes.subarray(from, from + take), this.at);
        this.at += take;
        this.left -= take;
        from += take;
      }
      if (this.left === 0) this.finish();
    }
  }

  private finish(): void {
    const sink = this.sink;
    this.sink = undefined;
    sink?.end();
  }
}
