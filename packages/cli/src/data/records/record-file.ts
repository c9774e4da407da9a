/** RecordFile: a dataset file's records as objects with ids, read one by one. Records without an id get `#<index>`. */
import { DataError } from '@realhf/api';
import { describeValue, type DataRecord, type FieldNames } from './fields.js';
import { openRaw, type RawRecords } from './raw-records.js';

/** Records of a JSONL, JSON or Parquet file, read when asked for. */
export class RecordFile {
  readonly path: string;
  private readonly raw: RawRecords;
  private readonly names: FieldNames;

  private constructor(path: string, raw: RawRecords, names: FieldNames) {
    this.path = path;
    this.raw = raw;
    this.names = names;
  }

  /** Throws DataError: unreadable, empty. */
  static async open(path: string, names: FieldNames = {}): Promise<RecordFile> {
    const raw = await openRaw(path);
    if (raw.size > 0) return new RecordFile(path, raw, names);
    raw.close();
    throw new DataError(`dataset '${path}' is empty; it needs at least one record`);
  }

  get size(): number {
    return this.raw.size;
  }

  /** Throws DataError that begins with where the record stands: no JSON, no object, an id of another type. */
  get(index: number): DataRecord {
    const where = this.raw.where(index);
    const value = this.raw.value(index);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new DataError(`${where}: expected an object, found ${describeValue(value)}`);
    const fields = value as Record<string, unknown>;
    const key = this.names.id ?? 'id';
    const given = fields[key];
    if (given !== undefined && typeof given !== 'string' && typeof given !== 'number')
      throw new DataError(
        `${where}: '${key}' is ${describeValue(given)}, expected a string or a number`,
      );
    const id = given === undefined ? `#${index}` : String(given);
    return { id, where, fields, names: this.names };
  }

  close(): void {
    this.raw.close();
  }
}
