/** Typed arrays on disk, raw little-endian, hashed with SHA-256 while they are written and while they are read. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { CheckpointError } from '@realhf/api';

const types = {
  f32: Float32Array,
  f64: Float64Array,
  i32: Int32Array,
  u32: Uint32Array,
  u8: Uint8Array,
} as const;

/** Element types of a blob. */
export type BlobType = keyof typeof types;

/** Arrays that a blob can hold. */
export type BlobArray = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array;

/** An array in a blob file. */
export interface BlobInfo {
  readonly type: BlobType;
  /** Elements. */
  readonly length: number;
  readonly sha256: string;
}

/** Bytes per read or write: large enough for speed, far below the 2 GiB limit of one call. */
const chunk = 1 << 26;

function typeOf(data: BlobArray): BlobType {
  const found = (Object.keys(types) as BlobType[]).find((t) => data instanceof types[t]);
  if (!found) throw new CheckpointError(`no blob type for ${data.constructor.name}`);
  return found;
}

const bytesOf = (data: BlobArray) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

/** Writes a new file and flushes it. */
export async function writeBlob(path: string, data: BlobArray): Promise<BlobInfo> {
  const bytes = bytesOf(data);
  const hash = createHash('sha256');
  const handle = await open(path, 'wx');
  try {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.subarray(at, at + chunk);
      const { bytesWritten } = await handle.write(part, 0, part.length);
      hash.update(part.subarray(0, bytesWritten));
      at += bytesWritten;
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { type: typeOf(data), length: data.length, sha256: hash.digest('hex') };
}

/** Reads and checks; throws CheckpointError on a short file or another checksum. */
export async function readBlob(path: string, info: BlobInfo): Promise<BlobArray> {
  const data = new types[info.type](info.length);
  const bytes = bytesOf(data);
  const hash = createHash('sha256');
  const handle = await open(path, 'r');
  try {
    for (let at = 0; at < bytes.length;) {
      const { bytesRead } = await handle.read(bytes, at, Math.min(chunk, bytes.length - at), at);
      if (bytesRead === 0)
        throw new CheckpointError(
          `'${path}' ends after ${at} of ${bytes.length} bytes; resume from an earlier checkpoint`,
        );
      hash.update(bytes.subarray(at, at + bytesRead));
      at += bytesRead;
    }
  } finally {
    await handle.close();
  }
  if (hash.digest('hex') !== info.sha256)
    throw new CheckpointError(
      `'${path}' is damaged: its SHA-256 is not the one written; resume from an earlier checkpoint`,
    );
  return data;
}
