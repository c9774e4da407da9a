/**
 * RawRecords: the records of a file by index, as JSON values, without holding them: a JSONL file is indexed by line (12
 * bytes a record) and read where it is asked for; gzip and parquet are turned into such a file once, in the system's
 * temporary directory. A .json file with one array is held whole.
 */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { DataError } from '@realhf/api';
import { gunzipToTemporary, parquetToTemporary } from './convert.js';

export interface RawRecords {
  readonly size: number;
  /** The value of record `index`. Throws DataError if it is no JSON. */
  value(index: number): unknown;
  /** `file:line` (`file[index]` for arrays and tables). */
  where(index: number): string;
  close(): void;
}

/** By the name's end: .jsonl, .json, .parquet, each but parquet also with .gz. Throws DataError. */
export async function openRaw(path: string): Promise<RawRecords> {
  if (path.endsWith('.parquet')) {
    const lines = indexed(await parquetToTemporary(path), path);
    return { ...lines, where: (i) => `${path}[${i}]` };
  }
  const zipped = path.endsWith('.gz');
  const fd = zipped ? await gunzipToTemporary(path) : open(path);
  return (zipped ? path.slice(0, -3) : path).endsWith('.json') && startsArray(fd)
    ? array(fd, path)
    : indexed(fd, path);
}

function open(path: string): number {
  try {
    const fd = openSync(path, 'r');
    if (!fstatSync(fd).isDirectory()) return fd;
    closeSync(fd);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const why = missing ? 'there is no such file' : (cause as Error).message;
    throw new DataError(`can't read dataset '${path}': ${why}`, { cause });
  }
  throw new DataError(`can't read dataset '${path}': it is a directory`);
}

function startsArray(fd: number): boolean {
  const head = Buffer.alloc(64);
  const n = readSync(fd, head, 0, 64, 0);
  return head
    .toString('utf8', 0, n)
    .replace(/^\uFEFF/, '')
    .trimStart()
    .startsWith('[');
}

function array(fd: number, path: string): RawRecords {
  const text = readFileSync(fd, 'utf8').replace(/^\uFEFF/, '');
  closeSync(fd);
  const list = parse(text, path) as unknown[];
  return {
    size: list.length,
    value: (i) => list[i],
    where: (i) => `${path}[${i}]`,
    close: () => undefined,
  };
}

/** Bytes per read while a file is indexed. */
const blockBytes = 2 ** 20;

function indexed(fd: number, path: string): RawRecords {
  const { begins, lines, size, bytes } = indexLines(fd);
  let buffer = Buffer.alloc(2 ** 16);
  const where = (i: number) => `${path}:${lines[i]!}`;
  return {
    size,
    where,
    value(i) {
      const begin = begins[i]!;
      // Blank lines between records are JSON's white space.
      const length = (i + 1 < size ? begins[i + 1]! : bytes) - begin;
      if (length > buffer.length) buffer = Buffer.alloc(length);
      const n = readSync(fd, buffer, 0, length, begin);
      return parse(
        buffer
          .toString('utf8', 0, n)
          .replace(/^\uFEFF/, '')
          .trim(),
        where(i),
      );
    },
    close: () => {
      closeSync(fd);
    },
  };
}

/** Where lines that are not blank begin (bytes) and their numbers, from 1. */
function indexLines(fd: number) {
  const bytes = fstatSync(fd).size;
  let begins = new Float64Array(1024);
  let lines = new Uint32Array(1024);
  let size = 0;
  const block = Buffer.alloc(blockBytes);
  let lineBegin = 0;
  let line = 1;
  let blank = true;
  for (let at = 0; at < bytes;) {
    const n = readSync(fd, block, 0, blockBytes, at);
    if (n === 0) break;
    for (let i = 0; i < n;) {
      if (!blank) {
        // Only the line's end matters from its first visible byte on.
        const end = block.subarray(0, n).indexOf(10, i);
        i = end < 0 ? n : end;
        if (end < 0) continue;
      }
      const c = block[i]!;
      if (c === 10) {
        line++;
        lineBegin = at + i + 1;
        blank = true;
      } else if (c !== 32 && c !== 13 && c !== 9) {
        blank = false;
        if (size === begins.length) {
          begins = grow(begins, Float64Array);
          lines = grow(lines, Uint32Array);
        }
        begins[size] = lineBegin;
        lines[size++] = line;
      }
      i++;
    }
    at += n;
  }
  return { begins: begins.slice(0, size), lines: lines.slice(0, size), size, bytes };
}

function grow<T extends Float64Array | Uint32Array>(old: T, make: new (n: number) => T): T {
  const out = new make(old.length * 2);
  out.set(old);
  return out;
}

function parse(text: string, where: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    const start = text.length > 60 ? `${text.slice(0, 57)}…` : text;
    throw new DataError(`${where}: not valid JSON: ${start}`, { cause });
  }
}
