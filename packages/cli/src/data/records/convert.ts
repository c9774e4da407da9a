/** gzip and parquet to JSON lines in a temporary file, which is gone when it is closed. Memory: a block or a row group. */
import { createReadStream, createWriteStream, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { DataError } from '@realhf/api';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';

/** An open file with the same bytes uncompressed. Throws DataError. */
export function gunzipToTemporary(path: string): Promise<number> {
  return temporary(path, 'a gzip file', (to) =>
    pipeline(createReadStream(path), createGunzip(), createWriteStream(to)),
  );
}

/** An open file of JSON lines, one per row. Integers beyond 2^53 become strings, bytes base64. Throws DataError. */
export function parquetToTemporary(path: string): Promise<number> {
  return temporary(path, 'a parquet file', async (to) => {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    await pipeline(
      Readable.from(
        (async function* () {
          let rowStart = 0;
          for (const group of metadata.row_groups) {
            const rowEnd = rowStart + Number(group.num_rows);
            const rows = await parquetReadObjects({
              file,
              metadata,
              compressors,
              rowStart,
              rowEnd,
            });
            for (const row of rows) yield `${JSON.stringify(row, jsonValue)}\n`;
            rowStart = rowEnd;
          }
        })(),
      ),
      createWriteStream(to),
    );
  });
}

function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint')
    return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  return value;
}

async function temporary(
  path: string,
  what: string,
  write: (to: string) => Promise<void>,
): Promise<number> {
  const dir = mkdtempSync(join(tmpdir(), 'realhf-records-'));
  const remove = () => {
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    const to = join(dir, 'records.jsonl');
    await write(to);
    const fd = openSync(to, 'r');
    // An open file may be removed but on Windows, where it goes with the process.
    if (process.platform === 'win32') process.once('exit', remove);
    else remove();
    return fd;
  } catch (cause) {
    remove();
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new DataError(
      `can't read dataset '${path}': ${missing ? 'there is no such file' : `it is not ${what} that can be read (${(cause as Error).message})`}`,
      { cause },
    );
  }
}
