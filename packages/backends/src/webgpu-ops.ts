/** Ops on one WebGPU device: every method is a launcher of ops/, recorded by one Recorder. */
import {
  DeviceError,
  type AdamArgs,
  type AttentionArgs,
  type AttentionBackwardArgs,
  type CopyBlocksArgs,
  type Decoder,
  type DecodeModel,
  type Activation,
  type DType,
  type GroupedMatmulArgs,
  type HostArray,
  type LogProbBackwardArgs,
  type LogProbForwardArgs,
  type MatmulArgs,
  type MoeSortArgs,
  type Ops,
  type PagedAttentionArgs,
  type RandomScaleArgs,
  type SampleArgs,
  type SampleRowsArgs,
  type Tensor,
} from '@realhf/api';

import {
  activation,
  activationBackward,
  gatedActivation,
  gatedActivationBackward,
} from './ops/activation/activation.js';
import { attentionBackward } from './ops/attention/attention-backward.js';
import { attention } from './ops/attention/attention.js';
import { biasBackward } from './ops/bias/bias.js';
import { makeDecoder } from './ops/decode/decoder.js';
import { dropoutAttention, dropoutAttentionBackward } from './ops/dropout/attention-dropout.js';
import { randomScale } from './ops/dropout/random-scale.js';
import { add, copy, fill, scale } from './ops/elementwise/elementwise.js';
import { embedding, embeddingBackward } from './ops/embedding/embedding.js';
import { gae } from './ops/gae/gae.js';
import { copyBlocks } from './ops/intervals/copy-blocks.js';
import { packHalves, unpackHalves } from './ops/intervals/halves.js';
import { logProbs, logProbsBackward } from './ops/logprobs/logprobs.js';
import { matmul } from './ops/matmul/matmul.js';
import { moeCombine, moeCombineBackward } from './ops/moe/combine.js';
import { groupedMatmul } from './ops/moe/grouped.js';
import { moeRoute, moeRouteBackward, moeSinkhorn } from './ops/moe/route.js';
import { moeSort } from './ops/moe/sort.js';
import { norm, normBackward } from './ops/norm/norm.js';
import { adam } from './ops/optimizer/adam.js';
import { clipFactor, sumSquares } from './ops/optimizer/sum-squares.js';
import { pagedAttention, writePages } from './ops/paged-attention/paged-attention.js';
import { rope } from './ops/rope/rope.js';
import { gatherRows, scatterRows } from './ops/rows/rows.js';
import { sample, sampleRows } from './ops/sample/sample.js';
import { deviceTensor, dtypeBytes } from './webgpu/device-tensor.js';
import { Recorder, type RecorderOptions } from './webgpu/recorder.js';

/** Ops on a WebGPU device. */
export class WebGpuOps implements Ops {
  readonly recorder: Recorder;
  readonly adapter: string;
  readonly maxTensorBytes: number;

  /** Takes over the device; `destroy` ends it. In a browser, pass what `navigator.gpu` gave. */
  constructor(options: RecorderOptions | Recorder) {
    this.recorder = options instanceof Recorder ? options : new Recorder(options);
    this.adapter = this.recorder.adapter;
    this.maxTensorBytes = this.recorder.maxTensorBytes;
  }

  empty(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    return this.recorder.alloc(shape, dtype);
  }
  zeros(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    const t = this.empty(shape, dtype);
    if (t.size > 0) fill(this.recorder, t, 0);
    return t;
  }
  fromHost(data: HostArray, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    const t = this.empty(shape, dtype);
    if (data.length !== t.size)
      throw new DeviceError(
        `${data.length} values for a tensor [${shape.join(', ')}] of ${t.size}`,
      );
    this.recorder.write(t, data);
    return t;
  }
  write(t: Tensor, data: HostArray, offset = 0): void {
    this.recorder.write(t, data, offset);
  }
  view(t: Tensor, offset: number, shape: readonly number[]): Tensor {
    return this.recorder.view(t, offset, shape);
  }
  free(...tensors: readonly Tensor[]): void {
    for (const t of tensors) this.recorder.free(t);
  }
  fill(t: Tensor, value: number): void {
    if (t.size > 0) fill(this.recorder, t, value);
  }
  copy(src: Tensor, dst: Tensor, count?: number, srcOffset?: number, dstOffset?: number): void {
    copy(this.recorder, src, dst, count, srcOffset, dstOffset);
  }
  async read(t: Tensor, offset?: number, count?: number): Promise<Float32Array> {
    return new Float32Array(await this.recorder.read(t, offset, count));
  }
  async readInts(t: Tensor, offset?: number, count?: number): Promise<Int32Array> {
    return new Int32Array(await this.recorder.read(t, offset, count));
  }
  /**
   * Where a tensor lies, in bytes of a buffer, for transports that move device memory; what was recorded is submitted.
   * `written`: the transport is about to change it.
   */
  deviceRange(t: Tensor, written: boolean): { buffer: GPUBuffer; offset: number; bytes: number } {
    const { buffer, byteOffset, size, dtype } = deviceTensor(t);
    this.recorder.flush();
    if (written) buffer.version++;
    return { buffer: buffer.gpu, offset: byteOffset, bytes: size * dtypeBytes[dtype] };
  }
  flush(): void {
    this.recorder.flush();
  }
  sync(): Promise<void> {
    return this.recorder.sync();
  }
  memory(): { live: number; held: number; peak: number } {
    const { live, held, peak } = this.recorder.pool;
    return { live, held, peak };
  }
  destroy(): void {
    this.recorder.destroy();
  }

  matmul(args: MatmulArgs): void {
    matmul(this.recorder, args);
  }
  biasBackward(dOut: Tensor, dBias: Tensor): void {
    biasBackward(this.recorder, dOut, dBias);
  }
  add(a: Tensor, b: Tensor, out: Tensor): void {
    add(this.recorder, a, b, out);
  }
  scale(a: Tensor, factor: number, out: Tensor): void {
    scale(this.recorder, a, factor, out);
  }
  activation(kind: Activation, x: Tensor, out: Tensor): void {
    activation(this.recorder, kind, x, out);
  }
  activationBackward(kind: Activation, x: Tensor, dOut: Tensor, dx: Tensor): void {
    activationBackward(this.recorder, kind, x, dOut, dx);
  }
  gatedActivation(kind: Activation, gateUp: Tensor, out: Tensor): void {
    gatedActivation(this.recorder, kind, gateUp, out);
  }
  gatedActivationBackward(kind: Activation, gateUp: Tensor, dOut: Tensor, dGateUp: Tensor): void {
    gatedActivationBackward(this.recorder, kind, gateUp, dOut, dGateUp);
  }
  embedding(
    table: Tensor,
    ids: Tensor,
    out: Tensor,
    options?: Parameters<Ops['embedding']>[3],
  ): void {
    embedding(this.recorder, table, ids, out, options);
  }
  embeddingBackward(
    dOut: Tensor,
    ids: Int32Array,
    dTable: Tensor,
    options?: Parameters<Ops['embeddingBackward']>[3],
  ): void {
    embeddingBackward(this.recorder, dOut, ids, dTable, options);
  }
  norm(args: Parameters<Ops['norm']>[0]): void {
    norm(this.recorder, args);
  }
  normBackward(args: Parameters<Ops['normBackward']>[0]): void {
    normBackward(this.recorder, args);
  }
  rope(args: Parameters<Ops['rope']>[0]): void {
    rope(this.recorder, args);
  }
  attention(args: AttentionArgs): void {
    if (args.dropout) dropoutAttention(this.recorder, args, args.dropout);
    else attention(this.recorder, args);
  }
  writePages(args: Parameters<Ops['writePages']>[0]): void {
    writePages(this.recorder, args);
  }
  pagedAttention(args: PagedAttentionArgs): void {
    pagedAttention(this.recorder, args);
  }
  decoder(model: DecodeModel): Decoder | undefined {
    return makeDecoder(this.recorder, model);
  }
  attentionBackward(args: AttentionBackwardArgs): void {
    if (args.dropout) dropoutAttentionBackward(this.recorder, args, args.dropout);
    else attentionBackward(this.recorder, args);
  }
  logProbs(args: LogProbForwardArgs): void {
    logProbs(this.recorder, args);
  }
  logProbsBackward(args: LogProbBackwardArgs): void {
    logProbsBackward(this.recorder, args);
  }
  sample(args: SampleArgs): void {
    sample(this.recorder, args);
  }
  sampleRows(args: SampleRowsArgs): void {
    sampleRows(this.recorder, args);
  }
  gatherRows(x: Tensor, index: Tensor, out: Tensor): void {
    gatherRows(this.recorder, x, index, out);
  }
  scatterRows(args: Parameters<Ops['scatterRows']>[0]): void {
    scatterRows(this.recorder, args);
  }
  copyBlocks(args: CopyBlocksArgs): void {
    copyBlocks(this.recorder, args);
  }
  packHalves(floats: Tensor, words: Tensor): void {
    packHalves(this.recorder, floats, words);
  }
  unpackHalves(words: Tensor, floats: Tensor): void {
    unpackHalves(this.recorder, words, floats);
  }
  gae(args: Parameters<Ops['gae']>[0]): void {
    gae(this.recorder, args);
  }
  sumSquares(x: Tensor, out: Tensor, slot: number): void {
    sumSquares(this.recorder, x, out, slot);
  }
  clipFactor(args: Parameters<Ops['clipFactor']>[0]): void {
    clipFactor(this.recorder, args);
  }
  adam(args: AdamArgs): void {
    adam(this.recorder, args);
  }
  moeRoute(args: Parameters<Ops['moeRoute']>[0]): void {
    moeRoute(this.recorder, args);
  }
  moeRouteBackward(args: Parameters<Ops['moeRouteBackward']>[0]): void {
    moeRouteBackward(this.recorder, args);
  }
  moeSinkhorn(logits: Tensor, choiceBias: Tensor): void {
    moeSinkhorn(this.recorder, logits, choiceBias);
  }
  moeSort(args: MoeSortArgs): void {
    moeSort(this.recorder, args);
  }
  groupedMatmul(args: GroupedMatmulArgs): void {
    groupedMatmul(this.recorder, args);
  }
  moeCombine(args: Parameters<Ops['moeCombine']>[0]): void {
    moeCombine(this.recorder, args);
  }
  moeCombineBackward(args: Parameters<Ops['moeCombineBackward']>[0]): void {
    moeCombineBackward(this.recorder, args);
  }
  randomScale(args: RandomScaleArgs): void {
    randomScale(this.recorder, args);
  }
}
