/**
 * Bind groups by pipeline and tensors. Making one costs ten times a dispatch, and so many lookups are made that strings as
 * keys would cost as much as the dispatch: a hash of numbers, then a comparison.
 */
import type { DeviceTensor } from './device-tensor.js';

interface Entry {
  readonly pipeline: number;
  /** Buffer, offset and length of each tensor. */
  readonly parts: readonly number[];
  readonly group: GPUBindGroup;
}

/** Bounded: shapes that vary every step must not grow it for ever. */
const most = 20000;

export class BindGroupCache {
  private readonly groups = new Map<number, Entry[]>();
  private size = 0;

  /** The group of these tensors for a pipeline; `make` makes it. */
  get(pipeline: number, tensors: readonly DeviceTensor[], make: () => GPUBindGroup): GPUBindGroup {
    let hash = pipeline;
    for (const t of tensors) {
      hash = Math.imul(hash ^ t.buffer.id, 0x9e3779b1);
      hash = Math.imul(hash ^ (t.byteOffset / 256), 0x85ebca6b) ^ t.byteLength;
    }
    const found = this.groups.get(hash);
    if (found) for (const e of found) if (fits(e, pipeline, tensors)) return e.group;
    if (this.size >= most) {
      this.groups.clear();
      this.size = 0;
    }
    const parts = tensors.flatMap((t) => [t.buffer.id, t.byteOffset, t.byteLength]);
    const entry = { pipeline, parts, group: make() };
    const list = this.groups.get(hash);
    if (list) list.push(entry);
    else this.groups.set(hash, [entry]);
    this.size++;
    return entry.group;
  }
}

function fits(
  { pipeline, parts }: Entry,
  wanted: number,
  tensors: readonly DeviceTensor[],
): boolean {
  if (pipeline !== wanted || parts.length !== 3 * tensors.length) return false;
  for (let i = 0; i < tensors.length; i++) {
    const t = tensors[i]!;
    if (
      parts[3 * i] !== t.buffer.id ||
      parts[3 * i + 1] !== t.byteOffset ||
      parts[3 * i + 2] !== t.byteLength
    )
      return false;
  }
  return true;
}
