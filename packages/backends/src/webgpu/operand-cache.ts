/**
 * Copies of tensors in another form (f16 panels for the matrix units), kept while what they were made from is unchanged:
 * a weight is converted once per optimizer step. Every binding for writing gives a buffer a new version, which makes its
 * copies stale; freeing the tensor frees them. The copies' memory comes from the pool and is counted there.
 */
import type { Tensor } from '@realhf/api';

import { deviceTensor, type PooledBuffer } from './device-tensor.js';

interface Copy {
  version: number;
  tensor: Tensor;
  readonly form: string;
  readonly shape: readonly number[];
}

export class OperandCache {
  /** By buffer, then by offset. */
  private readonly copies = new Map<number, Map<number, Copy[]>>();
  private readonly release: (t: Tensor) => void;

  constructor(release: (t: Tensor) => void) {
    this.release = release;
  }

  /**
   * The copy of `t` of this form, made by `make` where there is none or the tensor was written since; `make` gets the
   * stale copy to write over. The caller must not free it.
   */
  get(t: Tensor, form: string, make: (stale: Tensor | undefined) => Tensor): Tensor {
    const { version } = deviceTensor(t).buffer;
    const copy = this.find(t, form);
    if (copy?.version === version) return copy.tensor;
    const tensor = make(copy?.tensor);
    this.put(t, form, copy, tensor);
    return tensor;
  }

  /** The copy of this form, where it is up to date. */
  peek(t: Tensor, form: string): Tensor | undefined {
    const copy = this.find(t, form);
    return copy?.version === deviceTensor(t).buffer.version ? copy.tensor : undefined;
  }

  /** `peek`, and the copy is the caller's from then on, who must free it. */
  take(t: Tensor, form: string): Tensor | undefined {
    const tensor = this.peek(t, form);
    if (!tensor) return undefined;
    const { buffer, byteOffset } = deviceTensor(t);
    const list = this.copies.get(buffer.id)!.get(byteOffset)!;
    list.splice(
      list.findIndex((c) => c.tensor === tensor),
      1,
    );
    return tensor;
  }

  /**
   * For a kernel that makes the copy along with the tensor: `record` records it, given the stale copy to write over, and
   * returns the copy.
   */
  along(t: Tensor, form: string, record: (stale: Tensor | undefined) => Tensor): void {
    const copy = this.find(t, form);
    this.put(t, form, copy, record(copy?.tensor));
  }

  /** Frees the copies of a buffer that is freed itself. */
  drop(buffer: PooledBuffer): void {
    const at = this.copies.get(buffer.id);
    if (!at) return;
    this.copies.delete(buffer.id);
    for (const list of at.values()) for (const { tensor } of list) this.release(tensor);
  }

  private find(t: Tensor, form: string): Copy | undefined {
    const { buffer, byteOffset, shape } = deviceTensor(t);
    const list = this.copies.get(buffer.id)?.get(byteOffset);
    return list?.find(
      (c) =>
        c.form === form &&
        c.shape.length === shape.length &&
        c.shape.every((n, i) => n === shape[i]),
    );
  }

  /** `copy`: what `find` gave. */
  private put(t: Tensor, form: string, copy: Copy | undefined, tensor: Tensor): void {
    const { buffer, byteOffset, shape } = deviceTensor(t);
    const { version } = buffer;
    if (copy) {
      copy.version = version;
      copy.tensor = tensor;
      return;
    }
    let at = this.copies.get(buffer.id);
    if (!at) this.copies.set(buffer.id, (at = new Map<number, Copy[]>()));
    const made = { version, tensor, form, shape };
    const list = at.get(byteOffset);
    if (list) list.push(made);
    else at.set(byteOffset, [made]);
  }
}
