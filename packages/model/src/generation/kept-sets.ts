/**
 * Which tokens top-k, top-p and min_new_tokens left of the vocabulary, in bytes: one record per token, one after another.
 * A record is the varint 4·n + form and then, by form: 0 nothing (all are kept, n = 0); 1 the n kept ids, 2 the n removed
 * ids, each as the varint of its distance from the one before (the first from −1) less one; 3 a bitmask of ⌈V/8⌉ bytes,
 * where it is shorter than both lists. A set of another model's logits cannot be told by a threshold, so it is spelled out.
 */
import { DataError } from '@realhf/api';

/** The record of a distribution that nothing was taken from. */
export const allKept = Uint8Array.of(0);

function varintBytes(x: number): number {
  let n = 1;
  for (; x >= 128; x >>>= 7) n++;
  return n;
}
function writeVarint(out: Uint8Array, at: number, x: number): number {
  for (; x >= 128; x >>>= 7) out[at++] = (x & 127) | 128;
  out[at++] = x;
  return at;
}

/** Ids whose bit is `want` in words [⌈vocab/32⌉], ascending. */
function idsOf(words: ArrayLike<number>, vocab: number, want: 0 | 1): number[] {
  const ids: number[] = [];
  for (let w = 0; 32 * w < vocab; w++) {
    let bits = want === 1 ? words[w]! : ~words[w]!;
    if (32 * w + 32 > vocab) bits &= 2 ** (vocab - 32 * w) - 1;
    while (bits !== 0) {
      const low = 31 - Math.clz32(bits & -bits);
      ids.push(32 * w + low);
      bits &= bits - 1;
    }
  }
  return ids;
}

function countBits(words: ArrayLike<number>, vocab: number): number {
  let n = 0;
  for (let w = 0; 32 * w < vocab; w++) {
    let bits = words[w]!;
    if (32 * w + 32 > vocab) bits &= 2 ** (vocab - 32 * w) - 1;
    for (; bits !== 0; bits &= bits - 1) n++;
  }
  return n;
}

/** The record of a bitmask u32 [⌈vocab/32⌉], bit set = kept. */
export function encodeKept(words: ArrayLike<number>, vocab: number): Uint8Array {
  const kept = countBits(words, vocab);
  if (kept === vocab) return allKept;
  const form = 2 * kept <= vocab ? 1 : 2;
  const raw = Math.ceil(vocab / 8);
  const n = form === 1 ? kept : vocab - kept;
  if (n <= raw) {
    const ids = idsOf(words, vocab, form === 1 ? 1 : 0);
    let bytes = varintBytes(4 * n + form);
    ids.forEach((id, i) => (bytes += varintBytes(id - (ids[i - 1] ?? -1) - 1)));
    if (bytes <= raw) {
      const out = new Uint8Array(bytes);
      let at = writeVarint(out, 0, 4 * n + form);
      ids.forEach((id, i) => (at = writeVarint(out, at, id - (ids[i - 1] ?? -1) - 1)));
      return out;
    }
  }
  const out = new Uint8Array(1 + raw);
  out[0] = 3;
  for (let b = 0; b < raw; b++) out[1 + b] = words[b >> 2]! >>> (8 * (b & 3));
  if (vocab % 8 !== 0) out[raw]! &= 2 ** (vocab % 8) - 1;
  return out;
}

/** Walks over records; throws DataError where bytes end within one. */
class Reader {
  at = 0;
  private readonly bytes: Uint8Array;
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
  byte(): number {
    const b = this.bytes[this.at++];
    if (b === undefined)
      throw new DataError(
        `kept sets of ${this.bytes.length} bytes end within a record; give one record per token`,
      );
    return b;
  }
  varint(): number {
    let x = 0;
    for (let shift = 0; ; shift += 7) {
      const b = this.byte();
      x += (b & 127) * 2 ** shift;
      if (b < 128) return x;
    }
  }
  /** Past the record that starts here. */
  skip(vocab: number): void {
    const head = this.varint();
    if (head % 4 === 3) {
      this.at += Math.ceil(vocab / 8);
      return;
    }
    for (let n = Math.floor(head / 4); n > 0; n--) while (this.byte() >= 128);
  }
}

/** Byte where each of `count` records starts, and their end: u32 [count + 1]. */
export function keptOffsets(bytes: Uint8Array, count: number, vocab: number): Uint32Array {
  const reader = new Reader(bytes);
  const out = new Uint32Array(count + 1);
  for (let i = 0; i < count; i++) {
    out[i] = reader.at;
    reader.skip(vocab);
  }
  if (reader.at > bytes.length || (count > 0 && reader.at < bytes.length))
    throw new DataError(
      `kept sets have ${bytes.length} bytes, ${count} records for a vocabulary of ${vocab} take ${reader.at}`,
    );
  out[count] = reader.at;
  return out;
}

/** How many tokens the record at `at` keeps. */
export function keptCount(bytes: Uint8Array, at: number, vocab: number): number {
  const reader = new Reader(bytes.subarray(at));
  const head = reader.varint();
  const n = Math.floor(head / 4);
  if (head % 4 === 1) return n;
  if (head % 4 !== 3) return vocab - n;
  let kept = 0;
  for (let b = 0; b < Math.ceil(vocab / 8); b++)
    for (let x = reader.byte(); x !== 0; x &= x - 1) kept++;
  return kept;
}

/** Writes the bits of tokens [begin, end) of the record at `at` into words [⌈(end − begin)/32⌉] of `out` from `word` on. */
export function keptBits(
  bytes: Uint8Array,
  at: number,
  range: { readonly begin: number; readonly end: number; readonly vocab: number },
  out: Uint32Array,
  word: number,
): void {
  const { begin, vocab } = range;
  const end = Math.min(range.end, vocab);
  const reader = new Reader(bytes.subarray(at));
  const head = reader.varint();
  const n = Math.floor(head / 4);
  const form = head % 4;
  const width = Math.ceil((range.end - begin) / 32);
  out.fill(0, word, word + width);
  if (form === 0 || form === 2) {
    const size = Math.max(0, end - begin);
    out.fill(0xffffffff, word, word + Math.floor(size / 32));
    if (size % 32 !== 0) out[word + Math.floor(size / 32)] = 2 ** (size % 32) - 1;
  }
  const flip = (id: number) => {
    if (id >= begin && id < end) out[word + ((id - begin) >> 5)]! ^= 1 << ((id - begin) & 31);
  };
  if (form === 3) {
    for (let b = 0; b < Math.ceil(vocab / 8); b++)
      for (let x = reader.byte(); x !== 0; x &= x - 1) flip(8 * b + 31 - Math.clz32(x & -x));
    return;
  }
  for (let i = 0, id = -1; i < n; i++) {
    id += reader.varint() + 1;
    flip(id);
  }
}

/** Records one after another. */
export function joinKept(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}
