/**
 * When the GPU worked: timestamps of every compute pass of a device, by wrapping what its command encoders begin. A pass is a
 * submit's worth of dispatches, so what shows as idle is the device waiting for the host. Dawn rounds timestamps to 0.1 ms.
 */
const perSet = 4096;

/** Nanoseconds on the device's clock. */
export interface Span {
  readonly begin: number;
  readonly end: number;
}

/** Needs the feature timestamp-query; until `start` nothing is measured. */
export class GpuTimeline {
  private readonly sets: GPUQuerySet[] = [];
  private used = 0;
  private on = false;
  private readonly device: GPUDevice;

  constructor(device: GPUDevice) {
    this.device = device;
    const makeEncoder = device.createCommandEncoder.bind(device);
    device.createCommandEncoder = (descriptor) => {
      const encoder = makeEncoder(descriptor);
      const begin = encoder.beginComputePass.bind(encoder);
      encoder.beginComputePass = (pass) => begin(this.on ? { ...pass, ...this.writes() } : pass);
      return encoder;
    };
  }

  private writes(): { timestampWrites: GPUComputePassTimestampWrites } {
    const at = this.used % perSet;
    if (at === 0 && this.used / perSet === this.sets.length)
      this.sets.push(this.device.createQuerySet({ type: 'timestamp', count: perSet }));
    const querySet = this.sets[Math.floor(this.used / perSet)]!;
    this.used += 2;
    return {
      timestampWrites: { querySet, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 },
    };
  }

  start(): void {
    this.used = 0;
    this.on = true;
  }

  /** Spans since `start`, when all that was recorded is done. */
  async stop(): Promise<Span[]> {
    this.on = false;
    const spans: Span[] = [];
    for (let from = 0; from < this.used; from += perSet) {
      const count = Math.min(perSet, this.used - from);
      const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
      const resolved = this.device.createBuffer({ size: 8 * perSet, usage });
      const mapped = this.device.createBuffer({
        size: 8 * perSet,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
      const encoder = this.device.createCommandEncoder();
      encoder.resolveQuerySet(this.sets[from / perSet]!, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, mapped, 0, 8 * count);
      this.device.queue.submit([encoder.finish()]);
      await mapped.mapAsync(GPUMapMode.READ);
      const times = new BigUint64Array(mapped.getMappedRange().slice(0, 8 * count));
      for (let i = 0; i < count; i += 2)
        spans.push({ begin: Number(times[i]!), end: Number(times[i + 1]!) });
      resolved.destroy();
      mapped.destroy();
    }
    return spans;
  }
}

/** Share of `seconds` (of wall clock) in which no pass ran. */
export function idleShare(spans: readonly Span[], seconds: number): number {
  let busy = 0;
  let last = 0;
  for (const { begin, end } of [...spans].sort((a, b) => a.begin - b.begin)) {
    busy += Math.max(0, end - Math.max(begin, last));
    last = Math.max(last, end);
  }
  return 1 - busy / 1e9 / seconds;
}

/** In order, from the first one's begin on, those that overlap or are less than `gap` nanoseconds apart made one. */
export function joined(spans: readonly Span[], gap: number): Span[] {
  const sorted = [...spans].sort((a, b) => a.begin - b.begin);
  const zero = sorted[0]?.begin ?? 0;
  const out: { begin: number; end: number }[] = [];
  for (const { begin, end } of sorted) {
    const last = out.at(-1);
    if (last && begin - zero <= last.end + gap) last.end = Math.max(last.end, end - zero);
    else out.push({ begin: begin - zero, end: end - zero });
  }
  return out;
}
