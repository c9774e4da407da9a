/** The few protobuf wire forms that TensorBoard events need: varint, 64-bit, 32-bit and length-delimited fields. */

const text = new TextEncoder();

/** Appends fields to a growing message. Field numbers are below 16. */
export class MessageWriter {
  private readonly bytes: number[] = [];

  private tag(field: number, wire: number): void {
    this.bytes.push((field << 3) | wire);
  }
  private rawVarint(value: number): void {
    let v = BigInt(value);
    if (v < 0n) v += 1n << 64n;
    while (v > 127n) {
      this.bytes.push(Number(v & 127n) | 128);
      v >>= 7n;
    }
    this.bytes.push(Number(v));
  }
  /** int64 of a whole number. */
  varint(field: number, value: number): this {
    this.tag(field, 0);
    this.rawVarint(value);
    return this;
  }
  double(field: number, value: number): this {
    this.tag(field, 1);
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, value, true);
    this.bytes.push(...new Uint8Array(view.buffer));
    return this;
  }
  float(field: number, value: number): this {
    this.tag(field, 5);
    const view = new DataView(new ArrayBuffer(4));
    view.setFloat32(0, value, true);
    this.bytes.push(...new Uint8Array(view.buffer));
    return this;
  }
  /** string or embedded message. */
  block(field: number, value: string | Uint8Array): this {
    const body = typeof value === 'string' ? text.encode(value) : value;
    this.tag(field, 2);
    this.rawVarint(body.length);
    for (const b of body) this.bytes.push(b);
    return this;
  }
  finish(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}
