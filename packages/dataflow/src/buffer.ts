/**
 * The master's sequence buffer (reference: F13): metadata of the items in flight, one entry per id in order of arrival.
 * Surprise: an MFC's batches are the *next* nSeqs entries in that order, never "any that are ready", so batches do not
 * depend on which call happened to finish first. An entry leaves once every MFC has completed it. Never holds tensors.
 */
import { ConfigError, DataError, SequenceSample } from '@realhf/api';
import type { Graph } from './graph.js';

/** Bounds of the buffer. */
export interface SequenceBufferOptions {
  /** Most entries at a time. Default 1e6. */
  readonly capacity?: number;
}

interface Entry {
  readonly id: string;
  /** Place in order of arrival since the start. */
  readonly position: number;
  /** One item, metadata only. */
  readonly meta: SequenceSample;
  /** MFCs that still have to complete it. */
  readonly pending: Set<string>;
}

/** Metadata of the items in flight: which call may take which batch. */
export class SequenceBuffer {
  private readonly graph: Graph;
  private readonly capacity: number;
  private readonly entries = new Map<string, Entry>();
  /** By position; evicted entries leave holes, the front is cut off by `base`. */
  private line: (Entry | undefined)[] = [];
  private base = 0;
  /** Per MFC the position of the first entry it has not taken. */
  private readonly cursors: Map<string, number>;

  /** Throws ConfigError if the capacity cannot hold one step. */
  constructor(graph: Graph, options: SequenceBufferOptions = {}) {
    this.graph = graph;
    this.capacity = options.capacity ?? 1e6;
    if (!(this.capacity >= graph.stepSize))
      throw new ConfigError(
        `buffer capacity ${this.capacity} is below the ${graph.stepSize} sequences of one step; raise it or lower nSeqs`,
      );
    this.cursors = new Map(graph.order.map((name) => [name, 0]));
  }

  /** Items now held. */
  get size(): number {
    return this.entries.size;
  }
  get ids(): string[] {
    return [...this.entries.keys()];
  }
  has(id: string): boolean {
    return this.entries.has(id);
  }

  /** Adds items of the dataset; throws DataError, nothing added, on an id in the buffer, a missing key or a full buffer. */
  put(sample: SequenceSample): void {
    for (const id of sample.ids)
      if (this.entries.has(id))
        throw new DataError(
          `id '${id}' is in the sequence buffer already; ids must be unique among the items in flight`,
        );
    const absent = this.graph.datasetKeys.find(
      (k) => !sample.keys.has(k) && this.graph.consumers.get(k)!.length > 0,
    );
    if (absent !== undefined)
      throw new DataError(
        `the dataset delivered ${[...sample.keys].join(', ')} without key '${absent}', which MFC '${this.graph.consumers.get(absent)![0]!}' needs`,
      );
    if (this.size + sample.bs > this.capacity)
      throw new DataError(
        `the sequence buffer holds ${this.size} of at most ${this.capacity} items, ${sample.bs} more do not fit; raise its capacity`,
      );
    for (const meta of sample.meta().unpack()) {
      const entry: Entry = {
        id: meta.ids[0]!,
        position: this.base + this.line.length,
        meta,
        pending: new Set(this.graph.order),
      };
      this.entries.set(entry.id, entry);
      this.line.push(entry);
    }
  }

  /** Adds keys to items in the buffer; throws DataError on an unknown id or a key that the item has already. */
  amend(sample: SequenceSample): void {
    const items = sample.meta().unpack();
    for (const item of items) {
      const entry = this.entryOf(item.ids[0]!, 'amend');
      const twice = [...item.keys].find((k) => entry.meta.keys.has(k));
      if (twice !== undefined)
        throw new DataError(
          `id '${entry.id}' has key '${twice}' already; an MFC must produce a key once per item`,
        );
    }
    for (const item of items) this.entries.get(item.ids[0]!)!.meta.update(item);
  }

  /** Batches of an MFC that `take` would give now. */
  ready(mfc: string): number {
    const { nSeqs, inputKeys } = this.nodeOf(mfc).mfc;
    let n = 0;
    for (let p = this.cursors.get(mfc)!; ; p++) {
      const entry = this.line[p - this.base];
      if (!entry || inputKeys.some((k) => !entry.meta.keys.has(k))) return Math.floor(n / nSeqs);
      n += 1;
    }
  }

  /** The next batch (metadata, all keys known so far, in order of arrival), or undefined while an input is missing. */
  take(mfc: string): SequenceSample | undefined {
    const { nSeqs, inputKeys } = this.nodeOf(mfc).mfc;
    const from = this.cursors.get(mfc)!;
    const batch = this.line.slice(from - this.base, from - this.base + nSeqs);
    if (batch.length < nSeqs) return undefined;
    const items: SequenceSample[] = [];
    for (const entry of batch) {
      if (!entry || inputKeys.some((k) => !entry.meta.keys.has(k))) return undefined;
      items.push(entry.meta);
    }
    this.cursors.set(mfc, from + nSeqs);
    return SequenceSample.gather(items, inputKeys);
  }

  /** Marks items as used by an MFC and evicts those that every MFC has used; returns the evicted ids in order of arrival. */
  complete(mfc: string, ids: readonly string[]): string[] {
    const cursor = this.cursors.get(this.nodeOf(mfc).mfc.name)!;
    for (const id of ids) {
      const entry = this.entryOf(id, 'complete');
      if (entry.position >= cursor || !entry.pending.has(mfc))
        throw new DataError(
          `MFC '${mfc}' completes id '${id}', which it ${entry.pending.has(mfc) ? 'has not taken' : 'has completed already'}`,
        );
    }
    const evicted: string[] = [];
    for (const id of ids) {
      const entry = this.entries.get(id)!;
      entry.pending.delete(mfc);
      if (entry.pending.size > 0) continue;
      this.entries.delete(id);
      this.line[entry.position - this.base] = undefined;
      evicted.push(id);
    }
    const live = this.line.findIndex((e) => e !== undefined);
    const gone = live < 0 ? this.line.length : live;
    this.line = this.line.slice(gone);
    this.base += gone;
    return evicted;
  }

  /**
   * Items to load so that every MFC that reads the dataset has `steps` whole steps ahead of it (taken ones do not
   * count), as far as the capacity allows: a multiple of the step size, 0 when there is enough.
   */
  shortage(steps = 1): number {
    const { stepSize } = this.graph;
    const end = this.base + this.line.length;
    let ahead = Infinity;
    for (const [name, node] of this.graph.nodes)
      if (node.isSrc) ahead = Math.min(ahead, end - this.cursors.get(name)!);
    const missing = Math.max(0, steps - Math.floor(ahead / stepSize));
    const room = Math.floor((this.capacity - this.size) / stepSize);
    return Math.min(missing, room) * stepSize;
  }

  /** Forgets everything, as at the start. */
  clear(): void {
    this.entries.clear();
    this.line = [];
    this.base = 0;
    for (const name of this.cursors.keys()) this.cursors.set(name, 0);
  }

  private nodeOf(mfc: string) {
    const node = this.graph.nodes.get(mfc);
    if (!node)
      throw new DataError(`unknown MFC '${mfc}'; the graph has ${this.graph.order.join(', ')}`);
    return node;
  }
  private entryOf(id: string, verb: string): Entry {
    const entry = this.entries.get(id);
    if (!entry)
      throw new DataError(
        `cannot ${verb} id '${id}': it is not in the sequence buffer (${this.size} items)`,
      );
    return entry;
  }
}
