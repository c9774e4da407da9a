/**
 * The safetensors format (Hugging Face): u64 header length, JSON header, data. Pure: bytes in, typed arrays out.
 * The header is checked in full: ranges must tile the data without holes or overlaps and fit dtype and shape.
 * Little-endian machines only, as every JavaScript engine of today is.
 */
import { CheckpointError } from '@realhf/api';
import { fromBf16, fromF16, toBf16, toF16 } from './half-floats.js';

/** Bytes; as in the reference implementation. */
export const maxHeaderBytes = 100_000_000;

/** Bytes per element. */
const dtypeBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;
export type SafetensorsDType = keyof typeof dtypeBytes;

export interface SafetensorsEntry {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly begin: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Length of the JSON header in bytes from the first 8 bytes. Throws CheckpointError naming `file`. */
export function headerLength(first8: Uint8Array, fileBytes: number, file: string): number {
  if (first8.length < 8)
    throw new CheckpointError(
      `${file} has ${fileBytes} bytes, a safetensors file at least 8; it is truncated, copy it again`,
    );
  const length = new DataView(first8.buffer, first8.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes))
    throw new CheckpointError(
      `${file} claims a header of ${length.toString()} bytes, at most ${maxHeaderBytes} are allowed; it is no safetensors file`,
    );
  if (8 + Number(length) > fileBytes)
    throw new CheckpointError(
      `${file} ends within its header (${fileBytes} bytes of ${8 + Number(length)}); it is truncated, copy it again`,
    );
  return Number(length);
}

/** The header's entries. Throws CheckpointError naming `file` and the tensor. */
export function parseHeader(json: Uint8Array, fileBytes: number, file: string): SafetensorsHeader {
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
  } catch (cause) {
    throw new CheckpointError(`${file} has a header that is not JSON; it is no safetensors file`, {
      cause,
    });
  }
  if (!isRecord(raw))
    throw new CheckpointError(`${file} has a header that is not a JSON object; it is damaged`);

  const dataStart = 8 + json.length;
  const tensors = new Map<string, SafetensorsEntry>();
  let metadata: Record<string, string> = {};
  for (const [name, value] of Object.entries(raw)) {
    if (name === '__metadata__') metadata = parseMetadata(value, file);
    else tensors.set(name, parseEntry(name, value, dataStart, fileBytes, file));
  }
  checkTiling(tensors, dataStart, fileBytes, file);
  return { tensors, metadata };
}

function parseMetadata(value: unknown, file: string): Record<string, string> {
  if (!isRecord(value) || Object.values(value).some((v) => typeof v !== 'string'))
    throw new CheckpointError(`${file}: __metadata__ is not a map of strings; it is damaged`);
  return value as Record<string, string>;
}

function parseEntry(
  name: string,
  value: unknown,
  dataStart: number,
  fileBytes: number,
  file: string,
): SafetensorsEntry {
  const bad = (what: string) => new CheckpointError(`${file}: tensor '${name}' ${what}`);
  if (!isRecord(value)) throw bad('has no description in the header; the file is damaged');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !isDType(dtype))
    throw bad(`has dtype ${JSON.stringify(dtype)}; known: ${Object.keys(dtypeBytes).join(', ')}`);
  if (!isCounts(shape))
    throw bad(`has shape ${JSON.stringify(shape)}, not a list of whole numbers`);
  if (!isCounts(offsets) || offsets.length !== 2)
    throw bad(`has data_offsets ${JSON.stringify(offsets)}, not [begin, end]`);
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((a, b) => a * b, dtypeBytes[dtype]);
  if (end - begin !== bytes)
    throw bad(
      `takes ${end - begin} bytes, ${dtype} ${JSON.stringify(shape)} asks for ${bytes}; the file is damaged`,
    );
  if (dataStart + end > fileBytes)
    throw bad(
      `ends at byte ${dataStart + end}, the file at ${fileBytes}; it is truncated, copy it again`,
    );
  return { dtype, shape, begin: dataStart + begin, end: dataStart + end };
}

function checkTiling(
  tensors: ReadonlyMap<string, SafetensorsEntry>,
  dataStart: number,
  fileBytes: number,
  file: string,
): void {
  const order = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let at = dataStart;
  let before = 'the header';
  for (const [name, { begin, end }] of order) {
    if (begin !== at)
      throw new CheckpointError(
        `${file}: tensor '${name}' ${begin < at ? 'overlaps' : 'leaves a hole after'} ${before}; the file is damaged`,
      );
    at = end;
    before = `tensor '${name}'`;
  }
  if (at !== fileBytes)
    throw new CheckpointError(
      `${file} has ${fileBytes - at} bytes after its last tensor; the file is damaged`,
    );
}

/** Types that are written. */
export type WritableDType = 'F32' | 'F16' | 'BF16' | 'I32';

export interface SafetensorsSpec {
  readonly name: string;
  readonly dtype: WritableDType;
  readonly shape: readonly number[];
}

/** Bytes of `elements` elements. */
export function tensorBytes(dtype: SafetensorsDType, elements: number): number {
  return dtypeBytes[dtype] * elements;
}

/** f32 or i32 values as bytes of `dtype`, rounded to nearest even: a view of `data` where nothing changes. */
export function encodeTensor(dtype: WritableDType, data: Float32Array | Int32Array): Uint8Array {
  if (dtype === 'F32' || dtype === 'I32')
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const half = new Uint16Array(data.length);
  (dtype === 'F16' ? toF16 : toBf16)(data as Float32Array, half);
  return new Uint8Array(half.buffer);
}

/** Length, JSON and padding to 8 bytes, for tensors that follow in the given order. */
export function encodeHeader(
  specs: readonly SafetensorsSpec[],
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  // Written by hand: an object would move names that look like numbers to the front.
  const header = [`"__metadata__":${JSON.stringify(metadata)}`];
  let at = 0;
  for (const { name, dtype, shape } of specs) {
    const end = at + shape.reduce((a, b) => a * b, dtypeBytes[dtype]);
    const entry = JSON.stringify({ dtype, shape, data_offsets: [at, end] });
    header.push(`${JSON.stringify(name)}:${entry}`);
    at = end;
  }
  const json = new TextEncoder().encode(`{${header.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const out = new Uint8Array(8 + padded).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.set(json, 8);
  return out;
}

/** F32, F16, BF16 as f32; I32, I64 as i32. Throws CheckpointError for other types and i64 beyond i32. */
export function decodeTensor(
  dtype: SafetensorsDType,
  bytes: Uint8Array<ArrayBuffer>,
  what: string,
): Float32Array | Int32Array {
  const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  const at = aligned.byteOffset;
  switch (dtype) {
    case 'F32':
      return new Float32Array(aligned.buffer, at, bytes.length / 4);
    case 'I32':
      return new Int32Array(aligned.buffer, at, bytes.length / 4);
    case 'BF16': {
      const out = new Float32Array(bytes.length / 2);
      fromBf16(new Uint16Array(aligned.buffer, at, out.length), out);
      return out;
    }
    case 'F16':
      return Float32Array.from(new Uint16Array(aligned.buffer, at, bytes.length / 2), fromF16);
    case 'I64':
      return narrow(new BigInt64Array(aligned.buffer, at, bytes.length / 8), what);
    default:
      throw new CheckpointError(
        `${what} has dtype ${dtype}; readable: F32, F16, BF16, I32, I64; convert the checkpoint`,
      );
  }
}

function narrow(wide: BigInt64Array, what: string): Int32Array {
  const out = new Int32Array(wide.length);
  for (let i = 0; i < wide.length; i++) {
    const v = wide[i]!;
    if (BigInt.asIntN(32, v) !== v)
      throw new CheckpointError(`${what} holds ${v.toString()}, beyond 32 bits; store it as F32`);
    out[i] = Number(v);
  }
  return out;
}

function isDType(name: string): name is SafetensorsDType {
  return Object.hasOwn(dtypeBytes, name);
}
function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
