/** Keys of what random numbers are drawn for: sequences by their ids, wherever they are. */
import type { SequenceSample } from '@realhf/api';

/** A sequence's generator key: FNV-1a of its id mixed with the seed, so that its draws do not depend on the batch it is in. */
export function sequenceSeeds(seed: number, ids: readonly string[]): Uint32Array {
  return Uint32Array.from(ids, (id) => {
    let h = (0x811c9dc5 ^ Math.imul(seed | 0, 0x9e3779b1)) >>> 0;
    for (let i = 0; i < id.length; i++) h = Math.imul(h ^ id.charCodeAt(i), 0x01000193);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) >>> 0;
  });
}

/** The same for every sequence of `key`, where an id may have several. */
export function noiseSeeds(seed: number, sample: SequenceSample, key: string): Uint32Array {
  const names = sample.ids.flatMap((id, i) =>
    sample.seqlens[key]![i]!.map((_, j) => (j === 0 ? id : `${id}#${j}`)),
  );
  return sequenceSeeds(seed, names);
}
