/**
 * Reads a ustar archive: plain files only, which is all that the SwiftShader archive holds. Names come back as they
 * stand in the archive; the caller picks the ones it wants, so no path of an archive is ever written to.
 */
import { DeviceError } from '@realhf/api';

const block = 512;

/** Plain files of a tar archive by name. Throws DeviceError on a truncated archive or a bad checksum. */
export function untar(archive: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  let at = 0;
  while (at + block <= archive.length) {
    const head = archive.subarray(at, at + block);
    // Two zero blocks end the archive; the first is enough to know.
    if (head.every((byte) => byte === 0)) return files;
    let sum = 0;
    for (let i = 0; i < block; i++) sum += i >= 148 && i < 156 ? 32 : head[i]!;
    if (sum !== octal(head, 148, 8))
      throw new DeviceError(
        `tar header at byte ${at} has a wrong checksum; the archive is damaged, install it again`,
      );
    const size = octal(head, 124, 12);
    const start = at + block;
    if (start + size > archive.length)
      throw new DeviceError(
        `tar entry at byte ${at} needs ${size} bytes, the archive ends before; install it again`,
      );
    const type = head[156];
    const prefix = text(head, 345, 155);
    const name = text(head, 0, 100);
    if (type === 0 || type === 0x30)
      files.set(prefix ? `${prefix}/${name}` : name, archive.subarray(start, start + size));
    at = start + Math.ceil(size / block) * block;
  }
  throw new DeviceError(
    `tar archive of ${archive.length} bytes has no end mark; it is truncated, install it again`,
  );
}

function text(head: Uint8Array, offset: number, length: number): string {
  const field = head.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
}

function octal(head: Uint8Array, offset: number, length: number): number {
  return Number.parseInt(text(head, offset, length).trim() || '0', 8);
}
