/**
 * Reads JSONL (one object per line) or JSON (an array of objects). Every complaint is a DataError that starts with
 * `file:line` (`file[index]` for arrays). Blank lines are allowed. Records without an id get `#<index>`.
 */
import { readFileSync } from 'node:fs';
import { DataError } from '@realhf/api';

/** A record and where it stands, for messages. */
export interface DataRecord {
  readonly id: string;
  readonly where: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT'
        ? 'there is no such file'
        : code === 'EISDIR'
          ? 'it is a directory'
          : (cause as Error).message;
    throw new DataError(`can't read dataset '${path}': ${why}`, { cause });
  }
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    const start = text.length > 60 ? `${text.slice(0, 57)}…` : text;
    throw new DataError(`${where}: not valid JSON: ${start}`, { cause });
  }
}

function fromLines(bytes: Buffer, path: string): { where: string; value: unknown }[] {
  const out: { where: string; value: unknown }[] = [];
  let start = 0;
  for (let line = 1; start < bytes.length; line++) {
    const found = bytes.indexOf(10, start);
    const end = found < 0 ? bytes.length : found;
    // Decoded line by line: a whole file may exceed the longest string.
    const text = bytes
      .toString('utf8', start, end)
      .replace(/^\uFEFF/, '')
      .trim();
    start = end + 1;
    const where = `${path}:${line}`;
    if (text !== '') out.push({ where, value: parse(text, where) });
  }
  return out;
}

function describe(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}

/** All records in file order. Throws DataError: unreadable, bad JSON, not objects, duplicate ids, empty. */
export function readRecords(path: string): DataRecord[] {
  const bytes = read(path);
  const head = bytes
    .toString('utf8', 0, 64)
    .replace(/^\uFEFF/, '')
    .trimStart();
  let raw: { where: string; value: unknown }[];
  if (path.endsWith('.json') && head.startsWith('[')) {
    const list = parse(bytes.toString('utf8').replace(/^\uFEFF/, ''), path) as unknown[];
    raw = list.map((value, i) => ({ where: `${path}[${i}]`, value }));
  } else raw = fromLines(bytes, path);
  if (raw.length === 0)
    throw new DataError(`dataset '${path}' is empty; it needs at least one record`);

  const seen = new Map<string, string>();
  return raw.map(({ where, value }, index) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new DataError(`${where}: expected an object, found ${describe(value)}`);
    const fields = value as Record<string, unknown>;
    const given = fields.id;
    if (given !== undefined && typeof given !== 'string' && typeof given !== 'number')
      throw new DataError(`${where}: 'id' is ${describe(given)}, expected a string or a number`);
    const id = given === undefined ? `#${index}` : String(given);
    const before = seen.get(id);
    if (before !== undefined)
      throw new DataError(`${where}: id '${id}' is taken by ${before}; ids must be unique`);
    seen.set(id, where);
    return { id, where, fields };
  });
}

function missing(record: DataRecord, key: string): DataError {
  const has = Object.keys(record.fields).join(', ') || 'none';
  return new DataError(`${record.where}: record has no '${key}'; its keys are ${has}`);
}

/** A string field. Throws DataError naming file and line. */
export function stringField(record: DataRecord, key: string): string {
  const value = record.fields[key];
  if (value === undefined) throw missing(record, key);
  if (typeof value !== 'string')
    throw new DataError(`${record.where}: '${key}' is ${describe(value)}, expected a string`);
  return value;
}

/** A non-empty list of strings. Throws DataError naming file and line. */
export function stringsField(record: DataRecord, key: string): string[] {
  const value = record.fields[key];
  if (value === undefined) throw missing(record, key);
  if (!Array.isArray(value))
    throw new DataError(
      `${record.where}: '${key}' is ${describe(value)}, expected a list of strings`,
    );
  if (value.length === 0)
    throw new DataError(`${record.where}: '${key}' is empty; it needs at least one answer`);
  return value.map((item: unknown, i) => {
    if (typeof item !== 'string')
      throw new DataError(
        `${record.where}: '${key}[${i}]' is ${describe(item)}, expected a string`,
      );
    return item;
  });
}
