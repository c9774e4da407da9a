/**
 * TensorBoard scalars: TFRecord framing around `Event` messages (tensorflow/core/util/event.proto: wall_time=1, step=2,
 * file_version=3, summary=5, session_log=7). A resumed run gets a new file whose first event tells TensorBoard to
 * forget what an earlier file says from that step on.
 */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { maskedCrc32c } from './crc32c.js';
import { MessageWriter } from './protobuf.js';

/** One TFRecord: u64 length, its masked CRC, the data, its masked CRC; little endian. */
export function frameRecord(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(16 + data.length);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc32c(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc32c(data), true);
  return out;
}

/** Where a writer goes on and what its clock is. */
export interface TensorBoardOptions {
  /** First step that this process writes, when it goes on with an earlier run. */
  readonly resumeFrom?: number;
  /** Milliseconds since 1970. Default Date.now. */
  readonly now?: () => number;
}

/** Appends scalars to one `events.out.tfevents.…` file. */
export class TensorBoardWriter {
  readonly path: string;
  private readonly fd: number;
  private readonly now: () => number;

  /** Makes the directory and a new file in it. */
  constructor(dir: string, options: TensorBoardOptions = {}) {
    this.now = options.now ?? Date.now;
    mkdirSync(dir, { recursive: true });
    const seconds = Math.floor(this.now() / 1000);
    // `ax`: two starts within a second get two files.
    for (let n = 0; ; n++) {
      const path = join(dir, `events.out.tfevents.${seconds}.${hostname()}.${process.pid}.${n}`);
      try {
        this.fd = openSync(path, 'ax');
        this.path = path;
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
    }
    this.append(this.event(0).block(3, 'brain.Event:2'));
    if (options.resumeFrom !== undefined) {
      const start = new MessageWriter().varint(1, 1).finish();
      this.append(this.event(options.resumeFrom).block(7, start));
    }
  }

  private event(step: number): MessageWriter {
    return new MessageWriter().double(1, this.now() / 1000).varint(2, step);
  }
  private append(message: MessageWriter): void {
    writeSync(this.fd, frameRecord(message.finish()));
  }

  /** One event with all numbers of a step; tags are the keys. */
  scalars(step: number, values: Readonly<Record<string, number>>): void {
    const summary = new MessageWriter();
    for (const [tag, value] of Object.entries(values))
      summary.block(1, new MessageWriter().block(1, tag).float(2, value).finish());
    this.append(this.event(step).block(5, summary.finish()));
  }

  close(): void {
    closeSync(this.fd);
  }
}
