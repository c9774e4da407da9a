/**
 * Collectives as messages between all pairs of a group. Each starts with one message (number 0) of every rank to every
 * other, so that whoever is missing or does something else is known to all. Large sums: in each block every rank is
 * given its piece by all others, adds the pieces in rank order and gives the sum to all; a few blocks are under way
 * at a time. Every byte crosses a rank's connection at most twice, and the order of addition never changes.
 */
import { bytesOf, EAGER_BYTES } from './socket-frames.js';

/** The group as a collective sees it; both promises may be left alone until later. */
export interface Exchange {
  readonly rank: number;
  readonly size: number;
  readonly push: (to: number, sub: number, bytes: Uint8Array) => Promise<void>;
  readonly post: (from: number, sub: number, bytes: Uint8Array) => Promise<void>;
}

type Reducible = Float32Array | Float64Array;
export type ReduceOp = 'sum' | 'max';

/** Bytes of a piece of a block. */
const PIECE_BYTES = 1 << 20;
/**
 * Blocks of a sum that are under way at a time: each has a buffer of one piece for every other rank. Measured: with 2
 * blocks of half a megabyte both sides wait for each other's grants a third longer.
 */
const WINDOW = 4;
/** All those buffers together; with many ranks pieces are smaller. */
const SCRATCH_BYTES = 32 << 20;
const none = new Uint8Array(0);

export async function barrier(x: Exchange): Promise<void> {
  await swap(
    x,
    0,
    () => none,
    () => none,
  );
}

/** Every rank's `mine`, by rank, in `into`. */
export async function allGather(x: Exchange, mine: Uint8Array, into: Uint8Array): Promise<void> {
  const place = (r: number) => into.subarray(r * mine.length, (r + 1) * mine.length);
  const own = place(x.rank);
  // `mine` may be any part of `into`: not its place, then what is received there would be sent on.
  const overlaps = mine.buffer === into.buffer && mine.byteOffset !== own.byteOffset;
  const source = overlaps ? mine.slice() : mine;
  own.set(source);
  await swap(x, 0, () => source, place);
}

export async function broadcast(x: Exchange, data: Uint8Array, root: number): Promise<void> {
  const small = data.length <= EAGER_BYTES;
  const first = (sender: number) => (small && sender === root ? data : none);
  const hello = swap(x, 0, () => first(x.rank), first);
  const rest = small ? undefined : spread(x, data, root);
  await Promise.all([hello, rest]);
}

export async function allReduce(x: Exchange, data: Reducible, op: ReduceOp): Promise<void> {
  if (data.byteLength <= EAGER_BYTES) {
    const parts = others(x).map((r) => (r === x.rank ? data : like(data, data.length)));
    // A copy goes out: the sum is written over `data`, maybe before all of it has left.
    const mine = bytesOf(data.slice());
    await swap(
      x,
      0,
      () => mine,
      (r) => bytesOf(parts[r]!),
    );
    reduceParts(parts, x.rank, data, op);
    return;
  }
  const width = Math.ceil(data.length / x.size);
  const step = Math.min(width, pieceElements(x, data));
  const blocks = Math.ceil(data.length / (step * x.size));
  const piece = (b: number, r: number) => {
    const start = b * step * x.size;
    const w = Math.ceil(Math.min(step * x.size, data.length - start) / x.size);
    return data.subarray(
      Math.min(start + r * w, data.length),
      Math.min(start + (r + 1) * w, start + step * x.size, data.length),
    );
  };
  const gathers: Promise<void>[] = [];
  await reduceBlocks(
    x,
    blocks,
    step,
    2,
    op,
    piece,
    (b) => piece(b, x.rank),
    (b) => {
      const mine = bytesOf(piece(b, x.rank));
      gathers.push(...others(x, false).map((r) => x.push(r, 2 * b + 1, mine)));
    },
    (b) => {
      // Rank r's sum comes only after r has all of this rank's piece, so the piece has left.
      gathers.push(...others(x, false).map((r) => x.post(r, 2 * b + 1, bytesOf(piece(b, r)))));
    },
  );
  await Promise.all(gathers);
}

export async function reduceScatter(
  x: Exchange,
  data: Float32Array,
  into: Float32Array,
): Promise<void> {
  const step = Math.min(into.length, pieceElements(x, data));
  const blocks = Math.max(1, Math.ceil(into.length / Math.max(1, step)));
  const range = (b: number) => [b * step, Math.min((b + 1) * step, into.length)] as const;
  const piece = (b: number, r: number) => {
    const [start, end] = range(b);
    return data.subarray(r * into.length + start, r * into.length + end);
  };
  await reduceBlocks(x, blocks, step, 1, 'sum', piece, (b) => into.subarray(...range(b)));
}

/** Reduces this rank's piece of each block into `out(b)`. */
async function reduceBlocks<T extends Reducible>(
  x: Exchange,
  blocks: number,
  step: number,
  subs: number,
  op: ReduceOp,
  piece: (b: number, r: number) => T,
  out: (b: number) => T,
  reduced: (b: number) => void = () => undefined,
  started: (b: number) => void = () => undefined,
): Promise<void> {
  const scratch = Array.from({ length: Math.min(WINDOW, blocks) }, () =>
    others(x).map((r) => (r === x.rank ? undefined : like(piece(0, 0), step))),
  );
  const parts = (b: number) => {
    const own = piece(b, x.rank);
    return scratch[b % WINDOW]!.map((s) => (s ? s.subarray(0, own.length) : own)) as T[];
  };
  const running: Promise<void>[] = [];
  const sent: Promise<void>[] = [];
  const start = (b: number) => {
    if (b >= blocks) return;
    const into = parts(b);
    const peers = others(x, false);
    running[b] = settle(peers.map((r) => x.post(r, subs * b, bytesOf(into[r]!))));
    sent.push(...peers.map((r) => x.push(r, subs * b, bytesOf(piece(b, r)))));
    started(b);
  };
  for (let b = 0; b < WINDOW; b++) start(b);
  for (let b = 0; b < blocks; b++) {
    await running[b];
    reduceParts(parts(b), x.rank, out(b), op);
    reduced(b);
    start(b + WINDOW);
  }
  await Promise.all(sent);
}

/** A large broadcast: the root gives each rank a piece of every block, and that rank gives it to the rest. */
async function spread(x: Exchange, data: Uint8Array, root: number): Promise<void> {
  const leaves = others(x).filter((r) => r !== root);
  if (leaves.length === 0) return;
  const step = Math.min(PIECE_BYTES, Math.ceil(data.length / leaves.length));
  const work: Promise<void>[] = [];
  for (let b = 0, at = 0; at < data.length; b++)
    for (const owner of leaves) {
      const piece = data.subarray(at, Math.min(at + step, data.length));
      at += piece.length;
      if (x.rank === root) work.push(x.push(owner, 1 + b, piece));
      else if (x.rank !== owner) work.push(x.post(owner, 1 + b, piece));
      else
        work.push(
          x.post(root, 1 + b, piece).then(async () => {
            const rest = leaves.filter((r) => r !== owner);
            await Promise.all(rest.map((r) => x.push(r, 1 + b, piece)));
          }),
        );
    }
  await settle(work);
}

/** One message to every other rank, one from every other. */
async function swap(
  x: Exchange,
  sub: number,
  outgoing: (to: number) => Uint8Array,
  incoming: (from: number) => Uint8Array,
): Promise<void> {
  const peers = others(x, false);
  const posts = peers.map((r) => x.post(r, sub, incoming(r)));
  await Promise.all([...posts, ...peers.map((r) => x.push(r, sub, outgoing(r)))]);
}

/** As Promise.all; that it may be awaited late is no unhandled rejection. */
function settle(work: Promise<void>[]): Promise<void> {
  const all = Promise.all(work).then(() => undefined);
  all.catch(() => undefined);
  return all;
}

/** Ranks of the group, in order from 0, with or without this one. */
function others(x: Exchange, withSelf = true): number[] {
  const ranks = Array.from({ length: x.size }, (_, r) => r);
  return withSelf ? ranks : ranks.filter((r) => r !== x.rank);
}

function like<T extends Reducible>(data: T, length: number): T {
  return (data instanceof Float64Array ? new Float64Array(length) : new Float32Array(length)) as T;
}

function pieceElements(x: Exchange, data: Reducible): number {
  const room = SCRATCH_BYTES / (WINDOW * Math.max(1, x.size - 1));
  return Math.floor(Math.min(PIECE_BYTES, room) / 1024) * (1024 / data.BYTES_PER_ELEMENT);
}

/**
 * Reduces `parts`, by rank, into `out`, which may share memory with this rank's part: that is written in the last step
 * only, when it has been read. The other parts are scratch.
 */
function reduceParts<T extends Reducible>(
  parts: readonly T[],
  rank: number,
  out: T,
  op: ReduceOp,
): void {
  let total = parts[0]!;
  if (parts.length === 1) out.set(total);
  for (const [r, part] of parts.entries()) {
    if (r === 0) continue;
    // The first rank's own part may be the caller's: not scratch.
    const into = r === parts.length - 1 || rank === 0 ? out : total;
    const n = into.length;
    if (op === 'sum') for (let i = 0; i < n; i++) into[i] = total[i]! + part[i]!;
    else for (let i = 0; i < n; i++) into[i] = Math.max(total[i]!, part[i]!);
    total = into;
  }
}
