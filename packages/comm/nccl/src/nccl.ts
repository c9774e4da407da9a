/**
 * NCCL by koffi, with communicators that never block: every call that may wait returns at once and its state is asked
 * for, so that time-outs and aborts work from the one thread there is. NCCL 2.18 or newer.
 */
import { join } from 'node:path';

import { CommError, DeviceError } from '@realhf/api';

import { intOf, viewOf, word } from './bytes.js';
import {
  openLibrary,
  pythonLibraries,
  type NativeLibrary,
  type NativeValue,
} from './native-library.js';

const inProgress = 7;
const oldest = 21800;
/** ncclSum. */
const sum = 0;

const out = 'uint8_t *';
const ptr = 'uint64_t';
const symbols = {
  ncclGetVersion: [out],
  ncclGetUniqueId: [out],
  ncclCommInitRankConfig: [out, 'int', 'ncclUniqueId', 'int', out],
  ncclCommGetAsyncError: [ptr, out],
  ncclCommDestroy: [ptr],
  ncclCommAbort: [ptr],
  ncclGroupStart: [],
  ncclGroupEnd: [],
  ncclBroadcast: [ptr, ptr, 'size_t', 'int', 'int', ptr, ptr],
  ncclAllReduce: [ptr, ptr, 'size_t', 'int', 'int', ptr, ptr],
  ncclAllGather: [ptr, ptr, 'size_t', 'int', ptr, ptr],
  ncclReduceScatter: [ptr, ptr, 'size_t', 'int', 'int', ptr, ptr],
  ncclSend: [ptr, 'size_t', 'int', 'int', ptr, ptr],
  ncclRecv: [ptr, 'size_t', 'int', 'int', ptr, ptr],
} as const;
const strings = { ncclGetErrorString: ['int'], ncclGetLastError: [ptr] } as const;

/** NCCL's numbers of types. */
export const ncclTypes = { i32: 2, u32: 3, f16: 6, f32: 7 } as const;

/** One operation on a stream; addresses are of the device. */
export type NcclOperation = {
  readonly type: number;
  /** Elements, as NCCL counts them for this operation. */
  readonly count: number;
} & (
  | {
      readonly kind: 'broadcast';
      readonly from: bigint;
      readonly to: bigint;
      readonly root: number;
    }
  | {
      readonly kind: 'allReduce' | 'allGather' | 'reduceScatter';
      readonly from: bigint;
      readonly to: bigint;
    }
  | { readonly kind: 'send'; readonly from: bigint; readonly peer: number }
  | { readonly kind: 'recv'; readonly to: bigint; readonly peer: number }
);

/** The NCCL library, loaded at run time. */
export class Nccl {
  readonly path: string;
  /** 10000 × major + 100 × minor + patch. */
  readonly version: number;
  private readonly library: NativeLibrary;

  /** Loads `$REALHF_NCCL`, the system's libnccl or one of a Python environment. Throws DeviceError. */
  constructor() {
    const own = process.env.REALHF_NCCL;
    const python = pythonLibraries('nvidia/nccl/lib').map((folder) => join(folder, 'libnccl.so.2'));
    this.library = openLibrary({
      what: "NVIDIA's libnccl",
      candidates: own ? [own] : ['libnccl.so.2', 'libnccl.so', ...new Set(python)],
      symbols,
      strings,
      advice:
        'install the package libnccl2, or pip install nvidia-nccl-cu12; $REALHF_NCCL names another place',
    });
    this.path = this.library.path;
    const version = word();
    this.check('ncclGetVersion', this.library.code('ncclGetVersion', version));
    this.version = intOf(version);
    if (this.version < oldest)
      throw new DeviceError(
        `${this.path} is NCCL ${ncclVersionText(this.version)}; ${ncclVersionText(oldest)} or newer is needed`,
      );
  }

  /** 128 bytes that the ranks of a new communicator share. */
  uniqueId(): Uint8Array {
    const id = new Uint8Array(128);
    this.check('ncclGetUniqueId', this.library.code('ncclGetUniqueId', id));
    return id;
  }

  /** Begins to join; done when `state` is. */
  join(size: number, id: Uint8Array, rank: number): bigint {
    const config = new Uint8Array(48);
    const c = viewOf(config);
    const undefinedInt = -(2 ** 31);
    c.setBigUint64(0, BigInt(config.length), true);
    c.setUint32(8, 0xcafebeef, true);
    c.setUint32(12, oldest, true);
    c.setInt32(16, 0, true);
    // cgaClusterSize, minCTAs, maxCTAs; splitShare and what newer ones keep behind it. netName between them is null.
    for (const at of [20, 24, 28, 40, 44]) c.setInt32(at, undefinedInt, true);
    const slot = word();
    const code = this.library.code(
      'ncclCommInitRankConfig',
      slot,
      size,
      { internal: id },
      rank,
      config,
    );
    if (code !== 0 && code !== inProgress) throw this.error('ncclCommInitRankConfig', code, 0n);
    return viewOf(slot).getBigUint64(0, true);
  }

  /** True when nothing is under way in the communicator's own calls. Throws CommError for its asynchronous error. */
  isReady(comm: bigint): boolean {
    const state = word();
    this.check('ncclCommGetAsyncError', this.library.code('ncclCommGetAsyncError', comm, state));
    const code = intOf(state);
    if (code !== 0 && code !== inProgress) throw this.error('an operation', code, comm);
    return code === 0;
  }

  /** Puts operations on the stream, as one group. */
  launch(comm: bigint, stream: bigint, operations: readonly NcclOperation[]): void {
    this.check('ncclGroupStart', this.library.code('ncclGroupStart'), comm);
    let failure: CommError | undefined;
    for (const o of operations) {
      const [name, code] = this.put(comm, stream, o);
      if (code !== 0 && code !== inProgress) {
        failure = this.error(name, code, comm);
        break;
      }
    }
    const code = this.library.code('ncclGroupEnd');
    if (failure) throw failure;
    if (code !== inProgress) this.check('ncclGroupEnd', code, comm);
  }

  private put(comm: bigint, stream: bigint, o: NcclOperation): [string, number] {
    const call = (
      name: keyof typeof symbols,
      ...args: readonly NativeValue[]
    ): [string, number] => [name, this.library.code(name, ...args, comm, stream)];
    switch (o.kind) {
      case 'broadcast':
        return call('ncclBroadcast', o.from, o.to, o.count, o.type, o.root);
      case 'allReduce':
        return call('ncclAllReduce', o.from, o.to, o.count, o.type, sum);
      case 'allGather':
        return call('ncclAllGather', o.from, o.to, o.count, o.type);
      case 'reduceScatter':
        return call('ncclReduceScatter', o.from, o.to, o.count, o.type, sum);
      case 'send':
        return call('ncclSend', o.from, o.count, o.type, o.peer);
      case 'recv':
        return call('ncclRecv', o.to, o.count, o.type, o.peer);
    }
  }

  /** Ends a communicator; with `abort`, also what is under way. Never throws: it is called on the way out. */
  end(comm: bigint, abort: boolean): void {
    this.library.code(abort ? 'ncclCommAbort' : 'ncclCommDestroy', comm);
  }

  private check(name: string, code: number, comm = 0n): void {
    if (code !== 0) throw this.error(name, code, comm);
  }
  private error(name: string, code: number, comm: bigint): CommError {
    const last = this.library.text('ncclGetLastError', comm).trim();
    const what = this.library.text('ncclGetErrorString', code);
    return new CommError(`${name} failed: ${what} (${code})${last ? `: ${last}` : ''}`);
  }
}

/** 22803 → 2.28.3. */
export function ncclVersionText(version: number): string {
  return `${Math.floor(version / 10000)}.${Math.floor((version % 10000) / 100)}.${version % 100}`;
}
