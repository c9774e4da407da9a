/**
 * Frames of the socket communicator: a header of 40 bytes, little-endian, then `bytes` of payload. Messages are
 * matched by (group, key): n-th message between two ranks of a group is −n, message `sub` of a group's collective
 * number `seq` is seq·2²⁰ + sub. Every header carries the caller's signature, so a disagreement is seen at once.
 */
import { CommError } from '@realhf/api';

export const HEADER_BYTES = 40;
/** Largest payload of a frame. */
export const CHUNK_BYTES = 1 << 20;
/** Messages up to this size are sent without asking. */
export const EAGER_BYTES = 16 << 10;
/** What may lie at a peer that hasn't received it yet, each message with EAGER_OVERHEAD. */
export const EAGER_LIMIT = 4 << 20;
export const EAGER_OVERHEAD = 64;
/** Longest text of an abort. */
export const TEXT_BYTES = 4 << 10;
const SUBS = 2 ** 20;

/** eager: a whole small message; want: "I have it"; grant: "send it"; chunk: a part of what was granted. */
export const frameTypes = ['eager', 'chunk', 'want', 'grant', 'credit', 'abort', 'bye'] as const;
export type FrameType = (typeof frameTypes)[number];

export const ops = [
  'send',
  'barrier',
  'broadcast',
  'allReduce sum',
  'allReduce max',
  'allGather',
  'reduceScatter',
] as const;
const kinds = ['f32', 'i32', 'u32', 'f64'] as const;

/** What a rank thinks that it does: the same on both sides, or an error. */
export interface Signature {
  readonly op: (typeof ops)[number];
  readonly kind: (typeof kinds)[number];
  /** Root of a broadcast, else 0. */
  readonly root: number;
  /** Of the caller's `data`. */
  readonly elements: number;
}

export interface Frame {
  readonly type: FrameType;
  readonly group: number;
  readonly key: number;
  readonly sig: Signature;
  /** Bytes of payload. */
  readonly bytes: number;
}

export type Data = Float32Array | Int32Array | Uint32Array | Float64Array;

export const nothing: Signature = { op: 'send', kind: 'f32', root: 0, elements: 0 };

export function signature(op: Signature['op'], data: Data, root = 0): Signature {
  return { op, kind: kindOf(data), root, elements: data.length };
}

function kindOf(data: Data): Signature['kind'] {
  if (data instanceof Float32Array) return 'f32';
  if (data instanceof Int32Array) return 'i32';
  return data instanceof Uint32Array ? 'u32' : 'f64';
}

export function same(a: Signature, b: Signature): boolean {
  return a.op === b.op && a.kind === b.kind && a.root === b.root && a.elements === b.elements;
}

/** `broadcast from 0 of 3 × f32` */
export function describe(sig: Signature): string {
  if (sig.op === 'barrier') return sig.op;
  const from = sig.op === 'broadcast' ? ` from ${sig.root}` : '';
  return `${sig.op}${from} of ${sig.elements} × ${sig.kind}`;
}

/** Key of a collective's message. Throws CommError for more messages than a collective may have. */
export function keyOf(seq: number, sub: number): number {
  if (sub >= SUBS) throw new CommError(`collective of ${sub} pieces; at most ${SUBS}, split it`);
  return seq * SUBS + sub;
}

/** Number of the collective that a key is of; 0 for a message between two ranks. */
export function seqOf(key: number): number {
  return key < 0 ? 0 : Math.floor(key / SUBS);
}

/** The bytes of a typed array, not copied. */
export function bytesOf(data: Data): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

export function encode(frame: Frame): Uint8Array {
  const out = new Uint8Array(HEADER_BYTES);
  const view = new DataView(out.buffer);
  view.setUint32(0, frameTypes.indexOf(frame.type), true);
  view.setUint8(4, ops.indexOf(frame.sig.op));
  view.setUint8(5, kinds.indexOf(frame.sig.kind));
  view.setUint16(6, frame.sig.root, true);
  view.setFloat64(8, frame.group, true);
  view.setFloat64(16, frame.key, true);
  view.setFloat64(24, frame.sig.elements, true);
  view.setUint32(32, frame.bytes, true);
  return out;
}

/** Throws CommError for what isn't a frame, or one larger than its type may be. */
export function decode(header: Uint8Array): Frame {
  const view = new DataView(header.buffer, header.byteOffset, HEADER_BYTES);
  const type = frameTypes[view.getUint32(0, true)];
  const op = ops[view.getUint8(4)];
  const kind = kinds[view.getUint8(5)];
  const [group, key, elements] = [8, 16, 24].map((at) => view.getFloat64(at, true));
  const bytes = view.getUint32(32, true);
  const whole = [group, key, elements].every(Number.isSafeInteger);
  if (!type || !op || !kind || !whole || bytes > limits[type])
    throw new CommError(`a frame that is none (${String(type)} of ${bytes} bytes)`);
  const sig = { op, kind, root: view.getUint16(6, true), elements: elements! };
  return { type, group: group!, key: key!, sig, bytes };
}

const limits: Readonly<Record<FrameType, number>> = {
  eager: EAGER_BYTES,
  chunk: CHUNK_BYTES,
  want: 0,
  grant: 0,
  credit: 0,
  abort: TEXT_BYTES,
  bye: 0,
};
