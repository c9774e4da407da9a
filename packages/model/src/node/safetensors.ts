/**
 * Safetensors files: opened with the whole header checked, read tensor by tensor, written in the given order and
 * fsynced. The same tensors give the same bytes.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { CheckpointError } from '@realhf/api';
import {
  decodeTensor,
  encodeHeader,
  encodeTensor,
  headerLength,
  parseHeader,
  tensorBytes,
  type SafetensorsHeader,
  type SafetensorsSpec,
  type WritableDType,
} from '../hf/safetensors-format.js';

/** Bytes per system call: Node refuses 2 GiB and more. */
const chunkBytes = 2 ** 30;
/** Elements encoded at a time, so that a tensor of another type needs no second copy of it. */
const encodeElements = 2 ** 22;

/** An open file; close it. */
export class SafetensorsFile {
  readonly path: string;
  readonly header: SafetensorsHeader;
  private readonly handle: FileHandle;

  private constructor(path: string, handle: FileHandle, header: SafetensorsHeader) {
    this.path = path;
    this.handle = handle;
    this.header = header;
  }

  /** Throws CheckpointError naming the file and, where one is at fault, the tensor. */
  static async open(path: string): Promise<SafetensorsFile> {
    let handle: FileHandle;
    try {
      handle = await open(path, 'r');
    } catch (cause) {
      throw new CheckpointError(`cannot open ${path}; check that the file exists and is readable`, {
        cause,
      });
    }
    try {
      const { size } = await handle.stat();
      const first = await readBytes(handle, 0, Math.min(8, size), path);
      const length = headerLength(first, size, path);
      const json = await readBytes(handle, 8, length, path);
      return new SafetensorsFile(path, handle, parseHeader(json, size, path));
    } catch (e) {
      await handle.close();
      throw e;
    }
  }

  names(): string[] {
    return [...this.header.tensors.keys()];
  }

  /** F32, F16 and BF16 as f32; I32 and I64 as i32: all of it, or elements begin ≤ i < end. Throws CheckpointError. */
  async read(name: string, begin = 0, end?: number): Promise<Float32Array | Int32Array> {
    const entry = this.header.tensors.get(name);
    if (!entry)
      throw new CheckpointError(
        `${this.path} has no tensor '${name}'; it has ${this.names().slice(0, 8).join(', ')}…`,
      );
    const one = tensorBytes(entry.dtype, 1);
    const first = entry.begin + begin * one;
    const last = end === undefined ? entry.end : entry.begin + end * one;
    if (first > last || last > entry.end)
      throw new CheckpointError(
        `${this.path}: asked for elements ${begin} to ${end} of tensor '${name}', which has ${(entry.end - entry.begin) / one}`,
      );
    const bytes = await readBytes(this.handle, first, last - first, this.path);
    return decodeTensor(entry.dtype, bytes, `${this.path}: tensor '${name}'`);
  }

  /** As `read`, but an integer tensor is an error. */
  async readFloat(name: string, begin = 0, end?: number): Promise<Float32Array> {
    const data = await this.read(name, begin, end);
    if (data instanceof Float32Array) return data;
    throw new CheckpointError(`${this.path}: tensor '${name}' holds integers, asked for floats`);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}

async function readBytes(
  handle: FileHandle,
  position: number,
  length: number,
  path: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const out = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const n = Math.min(chunkBytes, length - at);
    const { bytesRead } = await handle.read(out, at, n, position + at);
    if (bytesRead === 0)
      throw new CheckpointError(
        `${path} ended at byte ${position + at} while it was read; something is writing to it`,
      );
    at += bytesRead;
  }
  return out;
}

/** A tensor to write. */
export interface SafetensorsTensor {
  readonly dtype: WritableDType;
  readonly shape: readonly number[];
  /** Int32Array for I32, else f32 values, rounded to the type as they are written. */
  readonly data: Float32Array | Int32Array;
}

/** Writes tensors in the order of their names. Throws CheckpointError if a shape or dtype does not fit the data. */
export async function writeSafetensors(
  path: string,
  tensors: Readonly<Record<string, SafetensorsTensor>>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const names = Object.keys(tensors).sort();
  const specs = names.map((name) => ({ name, ...tensors[name]! }));
  await streamSafetensors(path, specs, (i) => specs[i]!.data, metadata);
}

/** As writeSafetensors, one tensor in memory at a time: `get` is called once per spec, in order. */
export async function streamSafetensors(
  path: string,
  specs: readonly SafetensorsSpec[],
  get: (index: number) => SafetensorsTensor['data'] | Promise<SafetensorsTensor['data']>,
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const handle = await open(path, 'w');
  try {
    await writeBytes(handle, encodeHeader(specs, metadata));
    for (const [i, { name, dtype, shape }] of specs.entries()) {
      const data = await get(i);
      const size = shape.reduce((a, b) => a * b, 1);
      if (data.length !== size || data instanceof Int32Array !== (dtype === 'I32'))
        throw new CheckpointError(
          `${path}: tensor '${name}' is ${dtype} ${JSON.stringify(shape)}, its data are ${data.length} elements of ${data.constructor.name}`,
        );
      for (let at = 0; at < size; at += encodeElements)
        await writeBytes(handle, encodeTensor(dtype, data.subarray(at, at + encodeElements)));
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function writeBytes(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, at, Math.min(chunkBytes, bytes.length - at));
    at += bytesWritten;
  }
}
