/** Words that a kernel writes over a whole buffer, whatever its size, and that the CPU compares after reading back. */
import pattern from './pattern.wgsl';

/** Bytes bound at once, and read back at once. */
const windowBytes = 2 ** 28;

export class Patterns {
  private readonly device: GPUDevice;
  private readonly pipeline: GPUComputePipeline;
  private readonly params: GPUBuffer;
  private readonly back: GPUBuffer;

  constructor(device: GPUDevice) {
    this.device = device;
    const module = device.createShaderModule({ code: pattern });
    this.pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
    this.params = device.createBuffer({
      size: 16,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.back = device.createBuffer({
      size: windowBytes,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
  }

  write(buffer: GPUBuffer, seed: number): void {
    for (let at = 0; at < buffer.size; at += windowBytes) {
      const size = Math.min(windowBytes, buffer.size - at);
      this.device.queue.writeBuffer(this.params, 0, new Uint32Array([at / 4, size / 4, seed, 0]));
      const encoder = this.device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(this.pipeline);
      pass.setBindGroup(
        0,
        this.device.createBindGroup({
          layout: this.pipeline.getBindGroupLayout(0),
          entries: [
            { binding: 0, resource: { buffer, offset: at, size } },
            { binding: 1, resource: { buffer: this.params } },
          ],
        }),
      );
      pass.dispatchWorkgroups(Math.min(16_384, Math.ceil(size / 1024)));
      pass.end();
      this.device.queue.submit([encoder.finish()]);
    }
  }

  /** Words that differ from the pattern. */
  async mismatches(buffer: GPUBuffer, seed: number): Promise<number> {
    let bad = 0;
    for (let at = 0; at < buffer.size; at += windowBytes) {
      const size = Math.min(windowBytes, buffer.size - at);
      const encoder = this.device.createCommandEncoder();
      encoder.copyBufferToBuffer(buffer, at, this.back, 0, size);
      this.device.queue.submit([encoder.finish()]);
      await this.back.mapAsync(GPUMapMode.READ, 0, size);
      const words = new Uint32Array(this.back.getMappedRange(0, size));
      const first = at / 4 + seed;
      for (let i = 0; i < words.length; i++)
        if (words[i] !== Math.imul((i + first) | 0, 2654435761) >>> 0) bad++;
      this.back.unmap();
    }
    return bad;
  }
}
