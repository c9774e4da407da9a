/** Fields of a record, under the names that the file gives them. */
import { DataError } from '@realhf/api';

/** Our name of a field → the file's, where they differ. */
export type FieldNames = Readonly<Record<string, string | undefined>>;

/** A record and where it stands, for messages. */
export interface DataRecord {
  readonly id: string;
  readonly where: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly names: FieldNames;
}

/** A value's kind, for error messages: `null`, `a list`, `a string`. */
export function describeValue(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

/** A field's value and its name in the file. Throws DataError naming file and line if it is absent. */
export function field(record: DataRecord, key: string): { name: string; value: unknown } {
  const name = record.names[key] ?? key;
  const value = record.fields[name];
  if (value !== undefined) return { name, value };
  const has = Object.keys(record.fields).join(', ') || 'none';
  const hint = name === key ? `; another name is set by dataset.fields.${key}` : '';
  throw new DataError(`${record.where}: record has no '${name}'; its keys are ${has}${hint}`);
}

/** A string field. Throws DataError naming file and line. */
export function stringField(record: DataRecord, key: string): string {
  const { name, value } = field(record, key);
  if (typeof value !== 'string')
    throw new DataError(`${record.where}: '${name}' is ${describeValue(value)}, expected a string`);
  return value;
}

/** A non-empty list of strings. Throws DataError naming file and line. */
export function stringsField(record: DataRecord, key: string): string[] {
  const { name, value } = field(record, key);
  if (!Array.isArray(value))
    throw new DataError(
      `${record.where}: '${name}' is ${describeValue(value)}, expected a list of strings`,
    );
  if (value.length === 0)
    throw new DataError(`${record.where}: '${name}' is empty; it needs at least one answer`);
  return value.map((item: unknown, i) => {
    if (typeof item !== 'string')
      throw new DataError(
        `${record.where}: '${name}[${i}]' is ${describeValue(item)}, expected a string`,
      );
    return item;
  });
}
