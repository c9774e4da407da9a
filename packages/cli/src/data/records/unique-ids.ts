/**
 * Finds an id that occurs twice among millions: 8 bytes an id. Hashes are sorted; equal neighbours are rare, so that
 * only their records are read again and compared.
 */
import { DataError } from '@realhf/api';

export class UniqueIds {
  private hashes = new Float64Array(1024);
  private n = 0;

  add(id: string): void {
    if (this.n === this.hashes.length) {
      const larger = new Float64Array(this.n * 2);
      larger.set(this.hashes);
      this.hashes = larger;
    }
    this.hashes[this.n++] = hash(id);
  }

  /** `records`: the same ids again, in order. Throws DataError naming both places of the first id that is taken. */
  check(records: () => Iterable<{ readonly id: string; readonly where: string }>): void {
    const sorted = this.hashes.slice(0, this.n).sort();
    const twice = new Set<number>();
    for (let i = 1; i < sorted.length; i++) if (sorted[i] === sorted[i - 1]) twice.add(sorted[i]!);
    if (twice.size === 0) return;
    const seen = new Map<string, string>();
    for (const { id, where } of records()) {
      if (!twice.has(hash(id))) continue;
      const before = seen.get(id);
      if (before !== undefined)
        throw new DataError(`${where}: id '${id}' is taken by ${before}; ids must be unique`);
      seen.set(id, where);
    }
  }
}

/** 53 bits: two rounds of FNV-1a (Fowler, Noll, Vo) with different starts. */
function hash(id: string): number {
  let a = 0x811c9dc5;
  let b = 0x01234567;
  for (let i = 0; i < id.length; i++) {
    a = Math.imul(a ^ id.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ id.charCodeAt(i), 0x01000193) ^ (b >>> 15);
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}
