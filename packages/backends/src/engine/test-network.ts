/**
 * A critic of two tables: the value of token k is w[k] + b[k], w decayed and b not. Small enough to follow an optimizer
 * step by hand, on real Ops.
 */
import {
  SequenceSample,
  type ForwardPass,
  type Network,
  type Ops,
  type PackedBatch,
  type ParallelGroups,
  type ParamSpec,
  type StagePass,
} from '@realhf/api';

export const tableSize = 64;

export function tableNetwork(ops: Ops, initial: Float32Array): Network {
  const spec = (name: string, i: number): ParamSpec => ({
    name,
    shape: [tableSize],
    offset: i * tableSize,
    size: tableSize,
    layer: 0,
    decay: i === 0,
    init: 'zeros',
  });
  const specs = [spec('w', 0), spec('b', 1)];
  const params = [ops.fromHost(initial, [2 * tableSize])];
  const grads = [ops.zeros([2 * tableSize])];
  const groups: ParallelGroups = { coordinates: { pp: 0, dp: 0, tp: 0 }, tpSize: 1, ppSize: 1 };
  const forward = async ({ tokens }: PackedBatch): Promise<ForwardPass> => {
    const p = await ops.read(params[0]!);
    return {
      output: { values: Float32Array.from(tokens, (k) => p[k]! + p[tableSize + k]!) },
      async backward(grad) {
        const g = await ops.read(grads[0]!);
        grad?.dValues?.forEach((d, t) => {
          for (const at of [tokens[t]!, tableSize + tokens[t]!]) g[at]! += d;
        });
        ops.write(grads[0]!, g);
      },
      release() {
        // Nothing is kept.
      },
    };
  };
  const pass = (batch: PackedBatch): StagePass => {
    let whole: ForwardPass | undefined;
    return {
      recvActivation: () => Promise.resolve(),
      async forward() {
        whole = await forward(batch);
        return whole.output;
      },
      sendActivation: () => Promise.resolve(),
      recvGrad: () => Promise.resolve(),
      backward: (grad) => whole!.backward(grad),
      sendGrad: () => Promise.resolve(),
      release() {
        // Nothing is kept.
      },
    };
  };
  return {
    get config(): never {
      throw new Error('a table has no config');
    },
    ops,
    groups,
    specs,
    locals: specs.map((s) => ({ spec: s, row: 0, segment: 0, offset: s.offset, shape: s.shape })),
    shardMap: { intervals: [], segmentSizes: [2 * tableSize] },
    params,
    gradients: () => grads,
    forward,
    pass,
    generate: () => Promise.reject(new Error('a table cannot generate')),
    finishGradients: () => Promise.resolve(),
    free() {
      ops.free(...params, ...grads);
    },
  };
}

/** One sequence per line. */
export function tokensOf(lines: readonly (readonly number[])[]): SequenceSample {
  return SequenceSample.fromDefault({
    ids: lines.map((_, i) => `s${i}`),
    seqlens: lines.map((l) => l.length),
    data: { packed_input_ids: Int32Array.from(lines.flat()) },
  });
}
