/** Whole decode steps of small models against f64, from poisoned memory; a row's bits alone and among others; reruns. */
import type { Tensor } from '@realhf/api';

import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { decodeReference, type DecodeValues } from './decode.reference.js';
import { makeDecoder } from './decoder.js';

function upload(
  r: Recorder,
  data: Float32Array | Int32Array | Uint32Array,
  shape: readonly number[],
): Tensor {
  const dtype = data instanceof Float32Array ? 'f32' : data instanceof Int32Array ? 'i32' : 'u32';
  const t = r.alloc(shape, dtype);
  r.write(t, data);
  return t;
}

/** A model and the keys of its rows. */
interface Case {
  readonly name: string;
  readonly headDim: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly hidden: number;
  readonly inner: number;
  readonly vocab: number;
  readonly gemma?: boolean;
  readonly bias?: boolean;
  readonly window?: number;
  readonly activation?: 'silu' | 'gelu_tanh' | 'relu';
  /** Keys of each row. */
  readonly keys: readonly number[];
}

const activations = {
  silu: (x: number) => x / (1 + Math.exp(-x)),
  relu: (x: number) => Math.max(x, 0),
  gelu_tanh: (x: number) =>
    0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};
const pageSize = 4;

/** What was found, and whether it is as it must be. */
export async function checkDecoder(r: Recorder, c: Case): Promise<{ ok: boolean; what: string }> {
  const { headDim: d, nHeads, nKvHeads, hidden, inner, vocab } = c;
  const rand = random(7);
  const rows = c.keys.length;
  const weight = (n: number, k: number) => normal(n * k, rand).map((x) => x / Math.sqrt(k));
  const gains = () => normal(hidden, rand).map((x) => (c.gemma ? 0 : 1) + 0.3 * x);
  // Pages in random places, and one that nobody owns.
  const perLine = Math.max(...c.keys.map((n) => Math.ceil(n / pageSize)));
  const pages = Array.from({ length: rows * perLine + 1 }, (_, i) => i);
  for (let i = pages.length - 1; i > 0; i--) {
    const j = Math.floor(rand() * (i + 1));
    [pages[i], pages[j]] = [pages[j]!, pages[i]!];
  }
  const table = Uint32Array.from(pages.slice(0, rows * perLine));
  const poolSize = pages.length * pageSize * nKvHeads * d;
  const keyRow = (row: number, s: number) =>
    table[row * perLine + Math.floor(s / pageSize)]! * pageSize + (s % pageSize);
  // Only keys that exist hold numbers.
  const pool = () => {
    const data = new Float32Array(poolSize).fill(NaN);
    c.keys.forEach((n, row) => {
      for (let s = 0; s < n - 1; s++)
        data.set(normal(nKvHeads * d, rand), keyRow(row, s) * nKvHeads * d);
    });
    return data;
  };
  const cosSin = Float32Array.from({ length: 600 * d }, (_, i) => {
    const angle = Math.floor(i / d) * 0.3 ** (i % (d / 2));
    return i % d < d / 2 ? Math.cos(angle) : Math.sin(angle);
  });
  const values: DecodeValues = {
    ...{ hidden, inner, vocab, nHeads, nKvHeads, headDim: d, keyRow, cosSin },
    keys: c.keys,
    scale: 1 / Math.sqrt(d),
    eps: 1e-5,
    gemma: c.gemma ?? false,
    window: c.window ?? Infinity,
    activation: activations[c.activation ?? 'silu'],
    embedding: normal(vocab * hidden, rand),
    embeddingScale: c.gemma ? 1.5 : 1,
    finalNorm: gains(),
    head: weight(vocab, hidden),
    ids: c.keys.map((_, i) => (i * 31 + 5) % vocab),
    positions: c.keys.map((n) => n - 1),
    layers: Array.from({ length: 2 }, () => ({
      attnNorm: gains(),
      qkv: weight((nHeads + 2 * nKvHeads) * d, hidden),
      qkvBias: c.bias ? normal((nHeads + 2 * nKvHeads) * d, rand) : undefined,
      o: weight(hidden, nHeads * d),
      mlpNorm: gains(),
      gateUp: weight(2 * inner, hidden),
      down: weight(hidden, inner),
      kPool: pool(),
      vPool: pool(),
    })),
  };
  const tensors: Tensor[] = [];
  const put = (data: Float32Array | Int32Array | Uint32Array, ...shape: number[]) => {
    const t = upload(r, data, shape);
    tensors.push(t);
    return t;
  };
  /** Logits and the first layer's keys of these rows, from memory that holds NaN. */
  async function run(which: readonly number[], maxRows: number) {
    const poison = Array.from({ length: 12 }, () =>
      put(new Float32Array(1 << 16).fill(NaN), 1 << 16),
    );
    for (const t of poison) r.free(tensors.splice(tensors.indexOf(t), 1)[0]!);
    const layers = values.layers.map((l) => ({
      attnNorm: put(l.attnNorm, hidden),
      qkv: put(l.qkv, l.qkv.length / hidden, hidden),
      ...(l.qkvBias ? { qkvBias: put(l.qkvBias, l.qkvBias.length) } : {}),
      o: put(l.o, hidden, nHeads * d),
      mlpNorm: put(l.mlpNorm, hidden),
      gateUp: put(l.gateUp, 2 * inner, hidden),
      down: put(l.down, hidden, inner),
      kPool: put(l.kPool, poolSize / nKvHeads / d, nKvHeads * d),
      vPool: put(l.vPool, poolSize / nKvHeads / d, nKvHeads * d),
      scale: values.scale,
    }));
    const decoder = makeDecoder(r, {
      ...{ layers, maxRows, nHeads, nKvHeads, headDim: d, eps: values.eps },
      embedding: put(values.embedding, vocab, hidden),
      embeddingScale: values.embeddingScale,
      finalNorm: put(values.finalNorm, hidden),
      head: put(values.head, vocab, hidden),
      cosSin: put(cosSin, 600, d),
      norm: c.gemma ? 'gemma' : 'rms',
      activation: c.activation ?? 'silu',
      ...(c.window === undefined ? {} : { window: c.window }),
    });
    if (!decoder) throw new Error(`${c.name}: this device makes no decoder`);
    const state = which.flatMap((row) => [0, 0, values.positions[row]!, row, c.keys[row]!]);
    const step = {
      rows: which.length,
      ids: put(
        Int32Array.from(which, (row) => values.ids[row]!),
        which.length,
      ),
      state: put(Uint32Array.from(state), which.length, 5),
      pageTable: put(table, rows, perLine),
      pageSize,
    };
    const logits = new Float32Array(await r.read(decoder.step(step)));
    const again = new Float32Array(await r.read(decoder.step(step)));
    const keys = new Float32Array(await r.read(layers[0]!.kPool));
    decoder.free();
    for (const t of tensors.splice(0)) r.free(t);
    return { logits, again, keys };
  }
  const all = Array.from({ length: rows }, (_, i) => i);
  const { logits, again, keys } = await run(all, rows);
  const few = all.filter((i) => i % 3 === 1);
  const part = await run(few, rows + 70);
  const want = decodeReference(values);
  let [num, den] = [0, 0];
  want.forEach((row, i) => {
    row.forEach((x, j) => {
      num += (logits[i * vocab + j]! - x) ** 2;
      den += x * x;
    });
  });
  const error = Math.sqrt(num / den);
  const own = Math.max(
    ...all.map((i) => {
      const at = keyRow(i, c.keys[i]! - 1) * nKvHeads * d;
      return Math.abs(keys[at]! - values.layers[0]!.kPool[at]!);
    }),
  );
  const bits = (a: number, b: number) => a === b;
  const rerun = logits.every((x, i) => bits(x, again[i]!));
  const alone = few.every((row, i) =>
    part.logits
      .subarray(i * vocab, (i + 1) * vocab)
      .every((x, j) => bits(x, logits[row * vocab + j]!)),
  );
  const kept = keys.filter((x) => !Number.isNaN(x)).length;
  const expected = c.keys.reduce((a, n) => a + n, 0) * nKvHeads * d;
  return {
    ok: error < 4e-3 && own < 2e-2 && rerun && alone && kept === expected,
    what: `${c.name}: ${rows} rows against f64 ${error.toExponential(1)}, rerun ${rerun ? 'equal' : 'differs'}, ${few.length} rows alone ${alone ? 'equal' : 'differ'}, keys off by ${own.toExponential(1)}, ${kept === expected ? 'all' : 'not all'} in their places`,
  };
}

const lengths = (n: number, most: number) =>
  Array.from({ length: n }, (_, i) => 1 + ((i * 37 + 11) % most));
const small = { headDim: 64, nHeads: 4, nKvHeads: 1, hidden: 256, inner: 512, vocab: 301 };
/** All that the kernels can do. */
export const decodeCases = [
  { ...small, name: 'heads of 64', keys: lengths(5, 40) },
  { ...small, name: 'long', keys: [513, 1, 256, 257, 600, 31] },
  { ...small, name: 'groups of 8', nHeads: 8, hidden: 512, keys: lengths(17, 70) },
  {
    ...small,
    name: 'groups of 3, bias',
    nHeads: 12,
    nKvHeads: 4,
    bias: true,
    keys: lengths(33, 50),
  },
  {
    ...small,
    name: 'heads of 128, gemma',
    headDim: 128,
    nKvHeads: 2,
    gemma: true,
    activation: 'gelu_tanh',
    keys: lengths(64, 90),
  },
  {
    ...small,
    name: 'no groups, window, relu',
    nKvHeads: 4,
    window: 33,
    activation: 'relu',
    inner: 768,
    keys: lengths(65, 300),
  },
  { ...small, name: 'more than 128 rows', vocab: 500, keys: lengths(131, 20) },
  {
    ...small,
    name: 'large',
    nHeads: 16,
    nKvHeads: 2,
    hidden: 1024,
    inner: 2816,
    vocab: 1000,
    keys: lengths(40, 200),
  },
] satisfies Case[];
