/** Device tensors: opaque handles that only the Ops that made them can read. */

export type DType = 'f32' | 'f16' | 'i32' | 'u32';
/** Host-side arrays that cross the boundary to Ops and live in a SequenceSample. */
export type HostArray = Float32Array | Int32Array | Uint32Array | Uint8Array;

/** A dense row-major tensor on a device. Freed explicitly (Ops.free or an Arena). */
export interface Tensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
}

/** A matrix inside a larger one: row r, column c is at `offset + r * stride + c` elements of `tensor`. */
export interface Strided {
  readonly tensor: Tensor;
  /** Elements before the first row. */
  readonly offset: number;
  /** Elements from one row to the next. */
  readonly stride: number;
}
