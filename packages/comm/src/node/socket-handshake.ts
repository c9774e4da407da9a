/**
 * Who is at the other end: HMAC-SHA256 over both sides' fresh nonces, both ways, with the secret of the run. Messages
 * have fixed sizes, so a stranger can't make us allocate. Bytes that follow are neither encrypted nor signed: sockets
 * belong on a network that the run trusts.
 *
 *   listener → dialler   magic 8, nonce 32
 *   dialler → listener   size 4, rank 4, wanted rank 4, nonce 32, HMAC 32
 *   listener → dialler   verdict 1, HMAC 32
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

const MAGIC = Buffer.from('RHFCOMM1');
const NONCE = 32;
const MAC = 32;
export const HELLO_BYTES = MAGIC.length + NONCE;
export const ANSWER_BYTES = 12 + NONCE + MAC;
export const VERDICT_BYTES = 1 + MAC;

/** What both sides must agree on. */
export interface Identity {
  readonly secret: string | Uint8Array;
  readonly prefix: string;
  readonly size: number;
}

export type Verdict = 'welcome' | 'wrong secret' | 'wrong place';
const verdicts: readonly Verdict[] = ['wrong secret', 'welcome', 'wrong place'];

export function hello(nonce: Uint8Array): Buffer {
  return Buffer.concat([MAGIC, nonce]);
}

/** The listener's nonce; undefined where the other end isn't one of us. */
export function readHello(bytes: Buffer): Buffer | undefined {
  return bytes.subarray(0, MAGIC.length).equals(MAGIC) ? bytes.subarray(MAGIC.length) : undefined;
}

/** The dialler's answer. */
export function answer(
  id: Identity,
  rank: number,
  wanted: number,
  listenerNonce: Uint8Array,
  nonce: Uint8Array,
): Buffer {
  const ranks = ranksOf(id.size, rank, wanted);
  return Buffer.concat([ranks, nonce, mac(id, 'dialler', listenerNonce, nonce, ranks)]);
}

/** The listener's judgement of an answer and what it sends back; each rank is let in once. */
export function judge(
  id: Identity,
  ownRank: number,
  listenerNonce: Uint8Array,
  bytes: Buffer,
  isFree: (rank: number) => boolean,
): { verdict: Verdict; rank: number; reply: Buffer } {
  const ranks = bytes.subarray(0, 12);
  const nonce = bytes.subarray(12, 12 + NONCE);
  const [size, rank, wanted] = [0, 4, 8].map((at) => ranks.readUInt32LE(at)) as [
    number,
    number,
    number,
  ];
  const known = timingSafeEqual(
    bytes.subarray(12 + NONCE),
    mac(id, 'dialler', listenerNonce, nonce, ranks),
  );
  const fits =
    size === id.size && wanted === ownRank && rank < size && rank !== ownRank && isFree(rank);
  const verdict: Verdict = !known ? 'wrong secret' : fits ? 'welcome' : 'wrong place';
  // A stranger learns nothing but that it is one.
  const proof = known ? mac(id, 'listener', listenerNonce, nonce, ranks) : Buffer.alloc(MAC);
  return { verdict, rank, reply: Buffer.concat([Buffer.of(verdicts.indexOf(verdict)), proof]) };
}

/** The dialler's reading of the verdict; undefined where the listener itself didn't know the secret. */
export function readVerdict(
  id: Identity,
  rank: number,
  wanted: number,
  listenerNonce: Uint8Array,
  nonce: Uint8Array,
  bytes: Buffer,
): Verdict | undefined {
  const verdict = verdicts[bytes[0]!];
  if (verdict === undefined || verdict === 'wrong secret') return verdict;
  const proof = mac(id, 'listener', listenerNonce, nonce, ranksOf(id.size, rank, wanted));
  return timingSafeEqual(bytes.subarray(1), proof) ? verdict : undefined;
}

function ranksOf(size: number, rank: number, wanted: number): Buffer {
  const out = Buffer.alloc(12);
  [size, rank, wanted].forEach((v, i) => out.writeUInt32LE(v, 4 * i));
  return out;
}

/** The role is part of it: neither side's proof is worth anything when played back as the other's. */
function mac(
  id: Identity,
  role: 'dialler' | 'listener',
  listenerNonce: Uint8Array,
  diallerNonce: Uint8Array,
  ranks: Uint8Array,
): Buffer {
  return createHmac('sha256', id.secret)
    .update(`realhf comm ${role}\n`)
    .update(listenerNonce)
    .update(diallerNonce)
    .update(ranks)
    .update(id.prefix)
    .digest();
}
