/** A tensor in a pooled GPU buffer. A freed tensor throws when used, as do tensors of other Ops. */
import { DeviceError, type DType, type Tensor } from '@realhf/api';

/** A buffer of the pool. */
export interface PooledBuffer {
  readonly gpu: GPUBuffer;
  readonly id: number;
  readonly bytes: number;
  /** Serial of the encoder that last used it. */
  lastRecorded: number;
  /** Grows whenever something may have written to it. */
  version: number;
}

export const dtypeBytes: Readonly<Record<DType, number>> = { f32: 4, i32: 4, u32: 4, f16: 2 };

export class DeviceTensor implements Tensor {
  readonly size: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly buffer: PooledBuffer;
  readonly byteOffset: number;
  readonly isView: boolean;
  /** Bound range: whole words, at least one. */
  readonly byteLength: number;
  freed = false;

  constructor(
    shape: readonly number[],
    dtype: DType,
    buffer: PooledBuffer,
    byteOffset = 0,
    isView = false,
  ) {
    this.shape = shape;
    this.dtype = dtype;
    this.buffer = buffer;
    this.byteOffset = byteOffset;
    this.isView = isView;
    this.size = shape.reduce((a, b) => a * b, 1);
    this.byteLength = Math.max(4, Math.ceil((this.size * dtypeBytes[dtype]) / 4) * 4);
  }
}

export function deviceTensor(t: Tensor): DeviceTensor {
  if (!(t instanceof DeviceTensor))
    throw new DeviceError(`tensor [${t.shape.join(', ')}] was not made by these Ops`);
  if (t.freed)
    throw new DeviceError(`tensor [${t.shape.join(', ')}] ${t.dtype} is used after it was freed`);
  return t;
}
