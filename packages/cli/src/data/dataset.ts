/**
 * Dataset: records turned into items. Up to `checkedRecords` records are all encoded and checked before a run and
 * held; of a larger file only the index is held (12 bytes a record), its first records are checked at the start and
 * the others when they are met. With `onError: 'skip'`, or a codec that leaves records out, every record is looked at
 * once at the start, since the number of steps depends on how many are left.
 */
import { DataError, type SequenceSample } from '@realhf/api';
import { IndexedDataSource, type DataSource } from '@realhf/dataflow';
import type { DataRecord, FieldNames } from './records/fields.js';
import { RecordFile } from './records/record-file.js';
import { UniqueIds } from './records/unique-ids.js';

/** How records become items: the slow part once, the draw of an epoch each time. */
export interface RecordCodec<T> {
  /** undefined: leave this record out. Throws DataError naming file and line. `count` adds to a tally for `notes`. */
  prepare(record: DataRecord, count: (what: string) => void): T | undefined;
  item(prepared: T, index: number, epoch: number): SequenceSample;
  /** Whether `prepare` may leave records out. */
  readonly selective: boolean;
  /** Lines worth telling, from the tallies of all records; throws DataError where they show that training is in vain. */
  notes(tally: ReadonlyMap<string, number>, path: string, records: number): string[];
}

/** A data file and how it is read. */
export interface DatasetOptions {
  readonly path: string;
  readonly fields?: FieldNames;
  /** What a bad record does. Default fail. */
  readonly onError?: 'fail' | 'skip';
  /** Records that are all checked and held. Default 100,000. */
  readonly checkedRecords?: number;
}

/** Records of a larger file that are checked at the start all the same. */
const sampled = 1000;

/** Records of a file as samples, with a line for whatever was left out. */
export class Dataset<T> {
  /** Lines worth telling the user: what was cut, left out or skipped. */
  readonly notes: readonly string[];
  private readonly file: RecordFile;
  private readonly codec: RecordCodec<T>;
  private readonly held: readonly T[] | undefined;
  /** Records that are left; undefined: all. */
  private readonly kept: Uint32Array | undefined;

  private constructor(
    file: RecordFile,
    codec: RecordCodec<T>,
    looked: { notes: string[]; held?: T[]; kept?: Uint32Array },
  ) {
    this.file = file;
    this.codec = codec;
    this.notes = looked.notes;
    this.held = looked.held;
    this.kept = looked.kept;
  }

  /** Throws DataError naming file and line; also when no record is left. */
  static async open<T>(options: DatasetOptions, codec: RecordCodec<T>): Promise<Dataset<T>> {
    const { path, fields = {}, onError = 'fail', checkedRecords = 100_000 } = options;
    const file = await RecordFile.open(path, fields);
    try {
      const hold = file.size <= checkedRecords;
      const all = hold || onError === 'skip' || codec.selective;
      const tolerant = tolerance(onError);
      const looked = lookAtAll(file, codec, { hold, all, tolerant });
      checkIds(file, looked.ids, tolerant);
      const { kept, held, tally, bad, skipped } = looked;
      if (all && kept.length === 0)
        throw new DataError(
          `dataset '${path}': none of its ${file.size} records is left${bad.length > 0 ? `; the first bad one: ${bad[0]!}` : (codec.notes(tally, path, file.size).map((n) => `; ${n}`)[0] ?? '')}`,
        );
      const notes = codec.notes(tally, path, all ? file.size - skipped : sampled);
      if (skipped > 0)
        notes.push(
          `${path}: skipped ${skipped} bad records of ${file.size}: ${bad.join('; ')}${skipped > bad.length ? '; …' : ''}`,
        );
      if (!all)
        notes.push(
          `${path}: ${file.size} records, the first ${sampled} checked, the others when they are met`,
        );
      if (hold) file.close();
      return new Dataset(file, codec, {
        notes,
        ...(hold ? { held } : all ? { kept: Uint32Array.from(kept) } : {}),
      });
    } catch (e) {
      file.close();
      throw e;
    }
  }

  get size(): number {
    return this.held?.length ?? this.kept?.length ?? this.file.size;
  }

  item(index: number, epoch: number): SequenceSample {
    return this.codec.item(this.prepared(index), index, epoch);
  }

  /** Throws DataError if the record is bad and was not looked at before. */
  prepared(index: number): T {
    if (this.held) return this.held[index]!;
    const record = this.file.get(this.kept?.[index] ?? index);
    const prepared = this.codec.prepare(record, () => undefined);
    if (prepared === undefined)
      throw new DataError(
        `${record.where}: the record was left out when the file was opened; it has changed since`,
      );
    return prepared;
  }

  /** Every record once, as epoch 0 draws them, in file order. */
  items(): SequenceSample[] {
    return Array.from({ length: this.size }, (_, i) => this.item(i, 0));
  }

  /** Items shuffled anew each epoch. */
  source(seed: number): DataSource {
    return new IndexedDataSource(this.size, (index, epoch) => this.item(index, epoch), { seed });
  }
}

/** Runs `work`; where bad records may be skipped, the message of one is returned instead of thrown. */
type Tolerant = (work: () => void) => string | undefined;

function tolerance(onError: 'fail' | 'skip'): Tolerant {
  return (work) => {
    try {
      work();
      return undefined;
    } catch (e) {
      if (onError === 'fail' || !(e instanceof DataError)) throw e;
      return e.message;
    }
  };
}

/** What a pass over the file found. */
interface Looked<T> {
  readonly ids: UniqueIds;
  /** What was prepared, with `hold`; numbers of the records that are left, with `all`. */
  readonly held: T[];
  readonly kept: number[];
  readonly tally: Map<string, number>;
  readonly skipped: number;
  /** Of the first bad records. */
  readonly bad: readonly string[];
}

/** Every record once, in file order; without `all` only the first are prepared. */
function lookAtAll<T>(
  file: RecordFile,
  codec: RecordCodec<T>,
  { hold, all, tolerant }: { hold: boolean; all: boolean; tolerant: Tolerant },
): Looked<T> {
  const ids = new UniqueIds();
  const held: T[] = [];
  const kept: number[] = [];
  const tally = new Map<string, number>();
  const bad: string[] = [];
  let skipped = 0;
  const count = (what: string) => tally.set(what, (tally.get(what) ?? 0) + 1);
  for (let i = 0; i < file.size; i++) {
    const why = tolerant(() => {
      const record = file.get(i);
      const prepared = all || i < sampled ? codec.prepare(record, count) : undefined;
      ids.add(record.id);
      if (prepared === undefined && all) return;
      if (all) kept.push(i);
      if (hold && prepared !== undefined) held.push(prepared);
    });
    if (why === undefined) continue;
    skipped++;
    if (bad.length < 3) bad.push(why);
  }
  return { ids, held, kept, tally, skipped, bad };
}

/** A second pass, where hashes of ids met: throws DataError for an id that is there twice. */
function checkIds(file: RecordFile, ids: UniqueIds, tolerant: Tolerant): void {
  ids.check(function* () {
    for (let i = 0; i < file.size; i++) {
      let record: DataRecord | undefined;
      tolerant(() => {
        record = file.get(i);
      });
      if (record) yield record;
    }
  });
}
