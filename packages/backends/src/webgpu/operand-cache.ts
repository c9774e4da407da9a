/**
 * Copies of tensors in another form (f16 panels for the matrix units), kept while what they were made from is unchanged:
 * a weight is converted once per optimizer step. Every binding for writing gives a buffer a new version, which makes its
 * copies stale; freeing the tensor frees them. The copies' memory comes from the pool and is counted there.
 */
import type { Tensor } from '@realhf/api';

import { deviceTensor, type PooledBuffer } from './device-tensor.js';

interface Copy {
  version: number;
  readonly tensor: Tensor;
}

export class OperandCache {
  private readonly copies = new Map<number, Map<string, Copy>>();
  private readonly release: (t: Tensor) => void;

  constructor(release: (t: Tensor) => void) {
    this.release = release;
  }

  /**
   * The copy of `t` of this form, made by `make` where there is none or the tensor was written since; `make` gets the
   * stale copy to write over. The caller must not free it.
   */
  get(t: Tensor, form: string, make: (stale: Tensor | undefined) => Tensor): Tensor {
    const { buffer } = deviceTensor(t);
    const key = keyOf(t, form);
    let forms = this.copies.get(buffer.id);
    if (!forms) this.copies.set(buffer.id, (forms = new Map<string, Copy>()));
    const copy = forms.get(key);
    if (copy?.version === buffer.version) return copy.tensor;
    const tensor = make(copy?.tensor);
    forms.set(key, { version: buffer.version, tensor });
    return tensor;
  }

  /** The copy of this form, where it is up to date. */
  peek(t: Tensor, form: string): Tensor | undefined {
    const { buffer } = deviceTensor(t);
    const copy = this.copies.get(buffer.id)?.get(keyOf(t, form));
    return copy?.version === buffer.version ? copy.tensor : undefined;
  }

  /**
   * For a kernel that makes the copy along with the tensor: `record` records it, given the stale copy to write over, and
   * returns the copy.
   */
  along(t: Tensor, form: string, record: (stale: Tensor | undefined) => Tensor): void {
    const { buffer } = deviceTensor(t);
    const key = keyOf(t, form);
    const tensor = record(this.copies.get(buffer.id)?.get(key)?.tensor);
    let forms = this.copies.get(buffer.id);
    if (!forms) this.copies.set(buffer.id, (forms = new Map<string, Copy>()));
    forms.set(key, { version: buffer.version, tensor });
  }

  /** Frees the copies of a buffer that is freed itself. */
  drop(buffer: PooledBuffer): void {
    const forms = this.copies.get(buffer.id);
    if (!forms) return;
    this.copies.delete(buffer.id);
    for (const { tensor } of forms.values()) this.release(tensor);
  }
}

function keyOf(t: Tensor, form: string): string {
  return `${form}:${deviceTensor(t).byteOffset}:${t.shape.join('x')}`;
}
