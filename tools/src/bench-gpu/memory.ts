/**
 * Kernels that memory bounds, at working sets of 256 MiB and more (no cache holds them), beside the card's copy rate
 * measured in the same run. The floor is 0.8 of it.
 */
import type { Tensor } from '@realhf/api';
import type { WebGpuOps } from '@realhf/backends';

import { filled, seconds, warm } from './kernels.js';
import { digits } from './table.js';

/** Of the copy rate. */
const floor = 0.8;

interface Work {
  readonly name: string;
  /** That must move. */
  readonly bytes: number;
  readonly run: () => void;
}

/** Rows: name, GB/s, of the copy rate (this run's, or the peer's if that is higher), floor met or not. */
export async function memoryRows(ops: WebGpuOps, peerCopyRate = 0): Promise<string[][]> {
  const rows: string[][] = [];
  let copyRate = 0;
  for (const group of [flat, norms, rotation, activations, head]) {
    const tensors: Tensor[] = [];
    const keep = (t: Tensor) => {
      tensors.push(t);
      return t;
    };
    const works = group(ops, keep);
    await warm(ops, rows.length === 0 ? 1500 : 500);
    for (const { name, bytes, run } of works) {
      const rate = bytes / (await seconds(ops, 10, run)) / 1e9;
      if (copyRate === 0) copyRate = Math.max(rate, peerCopyRate);
      const share = rate / copyRate;
      rows.push([name, digits(rate, 0), digits(share, 2), share >= floor ? 'met' : 'missed']);
    }
    ops.free(...tensors);
  }
  return rows;
}

type Group = (ops: WebGpuOps, keep: (t: Tensor) => Tensor) => Work[];

const flat: Group = (ops, keep) => {
  const P = 1 << 27;
  const [param, grad] = [keep(filled(ops, [P])), keep(filled(ops, [P]))];
  const [m, v] = [keep(ops.zeros([P])), keep(ops.zeros([P]))];
  const [one, squares] = [keep(ops.zeros([1])), keep(ops.zeros([1]))];
  const adam = { lr: 1e-5, beta1: 0.9, beta2: 0.95, eps: 1e-5, weightDecay: 0, step: 1 };
  return [
    {
      name: 'copy',
      bytes: 8 * P,
      run: () => {
        ops.copy(param, grad);
      },
    },
    {
      name: 'fill',
      bytes: 4 * P,
      run: () => {
        ops.fill(grad, 0);
      },
    },
    {
      name: 'add',
      bytes: 12 * P,
      run: () => {
        ops.add(m, v, grad);
      },
    },
    {
      name: 'sum of squares',
      bytes: 4 * P,
      run: () => {
        ops.sumSquares(grad, squares, 0);
      },
    },
    {
      name: 'AdamW',
      bytes: 28 * P,
      run: () => {
        ops.adam({ ...adam, param, grad, m, v, begin: 0, end: P, gradScale: one });
      },
    },
  ];
};

const norms: Group = (ops, keep) =>
  [2048, 4096, 1024].flatMap((H) => {
    const T = (1 << 26) / H;
    const [x, y, dx] = [
      keep(filled(ops, [T, H])),
      keep(ops.empty([T, H])),
      keep(ops.zeros([T, H])),
    ];
    const [weight, bias] = [keep(filled(ops, [H])), keep(filled(ops, [H]))];
    const [dWeight, dBias] = [keep(ops.zeros([H])), keep(ops.zeros([H]))];
    const stats = keep(ops.empty([T, 2]));
    const rms = { x, weight, kind: 'rms', eps: 1e-5, stats } as const;
    const layer = { ...rms, kind: 'layer', bias } as const;
    const dim = `rows of ${H}`;
    if (H === 1024)
      return [
        {
          name: `layer norm, ${dim}`,
          bytes: 8 * T * H,
          run: () => {
            ops.norm({ ...layer, out: y });
          },
        },
        {
          name: `layer norm backward, ${dim}`,
          bytes: 12 * T * H,
          run: () => {
            ops.normBackward({ ...layer, dOut: y, dx, dWeight, dBias });
          },
        },
      ];
    return [
      {
        name: `norm, ${dim}`,
        bytes: 8 * T * H,
        run: () => {
          ops.norm({ ...rms, out: y });
        },
      },
      {
        name: `norm backward, ${dim}`,
        bytes: 16 * T * H,
        run: () => {
          ops.normBackward({ ...rms, dOut: y, dx, dWeight, accumulate: true });
        },
      },
    ];
  });

const rotation: Group = (ops, keep) => {
  const T = 32768;
  const [qkv, cosSin] = [keep(filled(ops, [T, 2560])), keep(filled(ops, [2048, 64]))];
  const positions = keep(
    ops.fromHost(
      Int32Array.from({ length: T }, (_, i) => i % 2048),
      [T],
      'u32',
    ),
  );
  const x = { tensor: qkv, offset: 0, stride: 2560 };
  const heads = { rows: T, nHeads: 36, headDim: 64, rotaryDim: 64, positions, cosSin };
  return [
    {
      name: 'rope, 36 heads of 64',
      bytes: 8 * T * 36 * 64,
      run: () => {
        ops.rope({ ...heads, x });
      },
    },
  ];
};

const activations: Group = (ops, keep) => {
  const [T, I] = [16384, 5632];
  const [gateUp, dGateUp] = [keep(filled(ops, [T, 2 * I])), keep(ops.empty([T, 2 * I]))];
  const [act, dAct] = [keep(filled(ops, [T, I])), keep(filled(ops, [T, I]))];
  return [
    {
      name: 'gated SiLU',
      bytes: 12 * T * I,
      run: () => {
        ops.gatedActivation('silu', gateUp, act);
      },
    },
    {
      name: 'gated SiLU backward',
      bytes: 20 * T * I,
      run: () => {
        ops.gatedActivationBackward('silu', gateUp, dAct, dGateUp);
      },
    },
    {
      name: 'GELU (tanh)',
      bytes: 8 * T * I,
      run: () => {
        ops.activation('gelu_tanh', act, dAct);
      },
    },
    {
      name: 'GELU (tanh) backward, in place',
      bytes: 12 * T * I,
      run: () => {
        ops.activationBackward('gelu_tanh', act, dAct, dAct);
      },
    },
  ];
};

const head: Group = (ops, keep) =>
  [32000, 50257].flatMap((V) => {
    const T = 4096;
    const [logits, labels] = [keep(filled(ops, [T, V])), keep(ops.zeros([T], 'i32'))];
    const [logProbs, lse] = [keep(ops.zeros([T])), keep(ops.empty([T]))];
    const args = { logits, labels, temperature: 1, lse };
    return [
      {
        name: `log-probs, ${V} tokens`,
        bytes: 4 * T * V,
        run: () => {
          ops.logProbs({ ...args, logProbs });
        },
      },
      {
        name: `log-probs backward in place, ${V} tokens`,
        bytes: 8 * T * V,
        run: () => {
          ops.logProbsBackward({ ...args, dLogProbs: logProbs, dLogits: logits });
        },
      },
    ];
  });
