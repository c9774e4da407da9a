/** Byte buffers for what native functions write, little-endian as x86-64 is. */

/** Room for one value of 8 bytes. */
export function word(): Uint8Array {
  return new Uint8Array(8);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

export function bigOf(bytes: Uint8Array, at = 0): bigint {
  return viewOf(bytes).getBigUint64(at, true);
}

export function intOf(bytes: Uint8Array, at = 0): number {
  return viewOf(bytes).getInt32(at, true);
}

/** Text up to the first NUL. */
export function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}

export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

/** 8-4-4-4-12, as NVIDIA's tools print it after `GPU-`. */
export function uuidText(bytes: Uint8Array): string {
  return hexOf(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
