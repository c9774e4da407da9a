/**
 * metrics.jsonl: one JSON line per record, in step order. A resumed run first drops what lies after its step, and a
 * line torn by a kill, so that the file reads as if the run had never stopped. NaN and infinities are written as null.
 */
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { DataError } from '@realhf/api';

/** A line of metrics.jsonl. */
export interface MetricsRecord {
  /** Steps done, this one included. */
  readonly step: number;
  readonly [key: string]: unknown;
}

const newline = 10;

/** Bytes of whole lines whose step is at most `step`. */
function keptBytes(bytes: Uint8Array, step: number, path: string): number {
  const text = new TextDecoder();
  let start = 0;
  for (let line = 1; start < bytes.length; line++) {
    const end = bytes.indexOf(newline, start);
    if (end < 0) return start;
    let record: unknown;
    try {
      record = JSON.parse(text.decode(bytes.subarray(start, end)));
    } catch (cause) {
      throw new DataError(`${path}:${line} is not JSON; repair the file or move it away`, {
        cause,
      });
    }
    if ((record as MetricsRecord).step > step) return start;
    start = end + 1;
  }
  return start;
}

/** Appends records to metrics.jsonl, whole lines only. */
export class MetricsWriter {
  private readonly fd: number;

  /** Appends to `path`; with `resumeStep` keeps only the records up to that step (0: none). Throws DataError. */
  constructor(path: string, options: { readonly resumeStep?: number } = {}) {
    const { resumeStep } = options;
    const keep =
      resumeStep !== undefined && existsSync(path)
        ? keptBytes(readFileSync(path), resumeStep, path)
        : undefined;
    this.fd = openSync(path, 'a');
    if (keep !== undefined) ftruncateSync(this.fd, keep);
  }

  write(record: MetricsRecord): void {
    writeSync(this.fd, `${JSON.stringify(record)}\n`);
  }
  close(): void {
    closeSync(this.fd);
  }
}
