/**
 * For a machine with a GPU: checks the GPU matmuls, f32 and f16, against f64 and times them. Made into one file by
 * `esbuild --bundle --loader:.wgsl=text --external:webgpu` and run by node. `--check` and `--time` do one of the two;
 * `--f16` leaves out f32, which tests cover on software adapters; `--emulated` checks on an adapter with f16, no matrices.
 */
import type { MatmulArgs, Tensor } from '@realhf/api';

import { openGpu } from '../../node/open-gpu.js';
import { Recorder } from '../../webgpu/recorder.js';
import { compileAhead } from '../../testing/compile-ahead.js';
import { wgslHash, type GpuProof } from '../../testing/wgsl-hash.js';
import { supportsF16Matmul } from '../../webgpu/subgroup-matrix.js';
import { f16Matmul, f16PlanFor, f16Tiles, type F16Plan, type F16Tile } from './f16.js';
import { gpuMatmul, gpuTileFor, gpuTiles, type GpuTile } from './gpu.js';
import { matmulProblem } from './problem.js';

const emulated = process.argv.includes('--emulated');
const timing = !process.argv.includes('--check') && !emulated;
const checking = !process.argv.includes('--time');
const f16Alone = process.argv.includes('--f16');
const gpu = await openGpu();
const r = new Recorder({ device: gpu.device, adapter: gpu.adapterName, isCpu: false });
const hasF16 = emulated || supportsF16Matmul(gpu.device, gpu.info);
/** Keeps them from being compiled one by one. */
export const pipelines =
  checking && hasF16 && !emulated ? await compileAhead(gpu.device, 'matmul_f16') : [];
console.log(`${gpu.adapterName}, f16 matrices: ${hasF16}`);

type Run = (args: MatmulArgs) => void;
const f16Name = ({ subsM, subsN, tm, tn }: F16Tile) => `${16 * subsM * tm}×${16 * subsN * tn}`;
const f16Run =
  (plan: F16Plan): Run =>
  (args) => {
    f16Matmul(r, args, matmulProblem(args), { ...plan, emulated });
  };
const f32Run =
  (tile: GpuTile): Run =>
  (args) => {
    gpuMatmul(r, args, matmulProblem(args), tile);
  };
/** More tiles to time, as JSON. */
const more = JSON.parse(process.env.MORE_TILES ?? '[]') as F16Tile[];
// Software adapters have too little workgroup memory for the largest tile.
const f16Runs = f16Tiles
  .slice(emulated ? 4 : 0)
  .map((tile) => [`f16 ${f16Name(tile)}`, f16Run({ tile })] as const);
const f32Runs = (f16Alone ? [] : emulated ? gpuTiles.slice(-1) : gpuTiles).map(
  (t) => [`f32 ${t.rows * t.ty}×${8 * t.tx}`, f32Run(t)] as const,
);

// ---- inputs -------------------------------------------------------------------------------------------

/** Sums of four uniform numbers: nearly normal, of standard deviation `std`. */
function noise(n: number, std = 1): Float32Array {
  const u = () => Math.random() - 0.5;
  return Float32Array.from({ length: n }, () => std * Math.sqrt(3) * (u() + u() + u() + u()));
}

function upload(data: Float32Array, shape: readonly number[]): Tensor {
  const t = r.alloc(shape);
  r.write(t, data);
  return t;
}

const download = async (t: Tensor) => new Float32Array(await r.read(t));

/** x as f16 holds it: nearest, ties to even, saturated. */
function roundF16(x: number): number {
  const step = 2 ** Math.max(Math.floor(Math.log2(Math.abs(x) || 1)) - 10, -24);
  const q = x / step;
  const low = Math.floor(q);
  const up = q - low > 0.5 || (q - low === 0.5 && low % 2 !== 0);
  return Math.max(-65504, Math.min(65504, (up ? low + 1 : low) * step));
}

// ---- correctness --------------------------------------------------------------------------------------

let failures = 0;
function report(ok: boolean, what: string): void {
  if (!ok) failures++;
  if (!ok || emulated) console.log(ok ? 'ok  ' : 'FAIL', what);
}

const layouts = [
  ['NT', false, true],
  ['NN', false, false],
  ['TN', true, false],
  ['TT', true, true],
] as const;
const small = [
  [1, 1, 1],
  [3, 5, 7],
  [17, 31, 13],
  [127, 129, 131],
  [129, 127, 64],
  [128, 256, 192],
  [64, 64, 1030],
  [130, 68, 260],
  [1, 257, 333],
] as const;
const tiny = [
  [1, 1, 1],
  [17, 31, 13],
  [67, 70, 130],
] as const;
const large = [
  [64, 2048, 2048],
  [300, 520, 8192],
  [257, 259, 8191],
  [1000, 2048, 2048],
] as const;
const f16Only = hasF16 ? f16Runs : [];
const runs = [...f16Only, ...f32Runs];
const worst = new Map<string, { exact: number; rounded: number }>();

/** Every run on one product of fresh operands, a's times `std`. */
async function check(
  which: readonly (readonly [string, Run])[],
  layout: (typeof layouts)[number],
  size: readonly [number, number, number],
  std: number,
): Promise<void> {
  const [kind, transA, transB] = layout;
  const [m, n, k] = size;
  const [a, b, bias, start] = [noise(m * k, std), noise(k * n), noise(n, std), noise(m * n, std)];
  const ta = upload(a, transA ? [k, m] : [m, k]);
  const tb = upload(b, transB ? [n, k] : [k, n]);
  const tBias = upload(bias, [n]);
  const most = a.reduce((x, y) => Math.max(x, Math.abs(y)), 0);
  const up = transB ? 1 : 2 ** (14 - Math.floor(Math.log2(most)));
  const samples = Math.min(m * n, Math.max(64, Math.ceil(4e5 / k)));
  const wanted = Array.from({ length: samples }, (_, s) => {
    const at = m * n <= samples ? s : s === 0 ? m * n - 1 : Math.floor(Math.random() * m * n);
    const [i, j] = [Math.floor(at / n), at % n];
    let [exact, rounded] = [0, 0];
    for (let p = 0; p < k; p++) {
      const x = a[transA ? p * m + i : i * k + p]!;
      const y = b[transB ? j * k + p : p * n + j]!;
      exact += x * y;
      rounded += (roundF16(x * up) / up) * roundF16(y);
    }
    return { at, exact, rounded, plus: [0, start[at]!, start[at]! + bias[j]!] };
  });
  const norm = Math.sqrt(wanted.reduce((sum, w) => sum + 3 * w.exact ** 2, 0));
  for (const [name, run] of which) {
    const isF16 = name.startsWith('f16');
    const out = upload(new Float32Array(m * n).fill(NaN), [m, n]);
    const sum = upload(start, [m, n]);
    const more = upload(start, [m, n]);
    run({ a: ta, b: tb, transA, transB, out });
    run({ a: ta, b: tb, transA, transB, out: sum, accumulate: true });
    run({ a: ta, b: tb, transA, transB, out: more, accumulate: true, bias: tBias });
    const got = await Promise.all([out, sum, more].map(download));
    const error = (of: 'exact' | 'rounded') =>
      Math.sqrt(
        wanted.reduce(
          (e, w) => e + w.plus.reduce((x, plus, c) => x + (got[c]![w.at]! - plus - w[of]) ** 2, 0),
          0,
        ),
      ) / norm;
    const [exact, rounded] = [error('exact'), error(isF16 ? 'rounded' : 'exact')];
    const finite = got.every((x) => x.every(Number.isFinite));
    report(
      // Matrix units add with fewer bits than a scalar unit: 1.1e-5 was seen at k = 8192.
      exact < (isF16 ? 2e-3 : 1e-5) && rounded < (isF16 ? 3e-5 : 1e-5) && finite,
      `${name} ${kind} ${size.join('×')} · ${std}: against f64 ${exact.toExponential(1)}, of rounded operands ${rounded.toExponential(1)}, ${finite ? '' : 'not '}finite`,
    );
    const key = `${name} ${kind}`;
    const w = worst.get(key) ?? { exact: 0, rounded: 0 };
    worst.set(key, { exact: Math.max(w.exact, exact), rounded: Math.max(w.rounded, rounded) });
    for (const t of [out, sum, more]) r.free(t);
  }
  for (const t of [ta, tb, tBias]) r.free(t);
}

/** All ways to compute one product in f16 (or f32) give the same bits, for any number of rows. */
async function same(group: readonly (readonly [string, Run])[]): Promise<void> {
  for (const [kind, transA, transB] of layouts) {
    const [m, n, k] = emulated ? [33, 36, 100] : [300, 516, 1000];
    const a = noise(m * k);
    const tb = upload(noise(k * n), transB ? [n, k] : [k, n]);
    let first: Float32Array | undefined;
    for (const rows of transA ? [m] : [m, 1, 17, 30])
      for (const [name, run] of group) {
        const ta = upload(a.slice(0, rows * k), transA ? [k, m] : [rows, k]);
        const out = upload(new Float32Array(rows * n).fill(NaN), [rows, n]);
        run({ a: ta, b: tb, transA, transB, out });
        const got = await download(out);
        first ??= got;
        const equal = got.every((x, i) => x === first![i]);
        report(equal, `${name} ${kind}: the first ${rows} rows are bit-equal to ${group[0]![0]}`);
        r.free(ta);
        r.free(out);
      }
    r.free(tb);
  }
}
async function range(): Promise<void> {
  const one = async (a: number, b: number) => {
    const [m, n, k] = [16, 16, 16];
    const x = new Float32Array(m * k);
    x[0] = a;
    const ta = upload(x, [m, k]);
    const tb = upload(new Float32Array(n * k).fill(b), [n, k]);
    const got: number[] = [];
    for (const [, run] of f16Runs.slice(0, 2)) {
      const out = upload(noise(m * n), [m, n]);
      run({ a: ta, b: tb, out, transB: true });
      got.push((await download(out))[0]!);
    }
    return got;
  };
  const expected = [
    [1e6, 0.5, 32752, '1e6 saturates at 65504'],
    [NaN, 1, NaN, 'NaN stays NaN'],
    [Infinity, 1, Infinity, 'infinity stays infinite'],
    [2 ** -24, 1, 2 ** -24, 'f16 subnormals are kept'],
  ] as const;
  for (const [a, b, want, what] of expected)
    for (const got of await one(a, b)) report(Object.is(got, want), `${what}: ${got}`);
}

async function checkAll(): Promise<void> {
  if (hasF16) {
    await range();
    await same(f16Runs);
  }
  if (f32Runs.length > 0) await same(f32Runs);
  for (const layout of layouts) {
    for (const size of emulated ? tiny : small) await check(runs, layout, size, 1);
    const largest = runs.filter(([name]) => /128×128|64×32|64×64/.test(name));
    for (const size of emulated ? [] : large) await check(largest, layout, size, 1);
    // Gradients far below what f16 holds.
    if (!layout[2]) await check(f16Only, layout, [70, 90, 110], 1e-12);
  }
  console.log(
    `correctness: ${failures === 0 ? 'all right' : `${failures} FAILURES`}; worst errors:`,
  );
  for (const [key, e] of worst)
    if (key.includes('128×128'))
      console.log(
        `  ${key.padEnd(28)} ${e.exact.toExponential(1)}  of rounded ${e.rounded.toExponential(1)}`,
      );
}

if (checking) {
  await checkAll();
  const proof: GpuProof = {
    date: new Date().toISOString().slice(0, 10),
    adapter: gpu.adapterName,
    driver: gpu.driver,
    wgsl: await wgslHash('matmul_f16'),
    failures,
    checked: [...worst].map(
      ([key, e]) => `${key}: ${e.exact.toExponential(1)}, of rounded ${e.rounded.toExponential(1)}`,
    ),
  };
  console.log(`PROOF ${JSON.stringify(proof)}`);
}

// ---- timings ------------------------------------------------------------------------------------------

async function seconds(run: () => void): Promise<number> {
  const once = async (times: number) => {
    await r.sync();
    const start = performance.now();
    for (let i = 0; i < times; i++) run();
    await r.sync();
    return (performance.now() - start) / 1000;
  };
  await once(2);
  let times = 4;
  while (times < 2048 && (await once(times)) < 0.04) times *= 2;
  const samples: number[] = [];
  for (let i = 0; i < 5; i++) samples.push((await once(times)) / times);
  return samples.sort((x, y) => x - y)[2]!;
}

async function time(
  layout: (typeof layouts)[number],
  size: readonly [number, number, number],
  group: readonly (readonly [string, Run])[],
): Promise<void> {
  const [kind, transA, transB] = layout;
  const [m, n, k] = size;
  const a = r.alloc(transA ? [k, m] : [m, k]);
  const b = r.alloc(transB ? [n, k] : [k, n]);
  const out = r.alloc([m, n]);
  for (const t of [a, b, out]) {
    const piece = noise(65536);
    for (let at = 0; at < t.size; at += 65536)
      r.write(t, piece.subarray(0, Math.min(65536, t.size - at)), at);
  }
  const args: MatmulArgs = { a, b, out, transA, transB, accumulate: transA };
  const p = matmulProblem(args);
  const chosen = [
    `f16 ${f16Name(f16PlanFor(p).tile)}`,
    ((t: GpuTile) => `f32 ${t.rows * t.ty}×${8 * t.tx}`)(transA ? gpuTiles[2]! : gpuTileFor(p)),
  ];
  console.log(`${kind} m=${m} n=${n} k=${k}`);
  for (const [name, run] of group) {
    const s = await seconds(() => {
      run(args);
    });
    const mark = chosen.includes(name) ? ' (chosen)' : '';
    const rate = ((2 * m * n * k) / s / 1e12).toFixed(1);
    console.log(
      `  ${(name + mark).padEnd(30)} ${(s * 1e6).toFixed(1).padStart(9)} µs ${rate.padStart(7)} TFLOP/s`,
    );
  }
  for (const t of [a, b, out]) r.free(t);
}

/** Few rows by one of many weights in turn, so that they come from memory and not from a cache. */
async function timeDecoding(m: number, n: number, k: number): Promise<void> {
  const a = upload(noise(m * k), [m, k]);
  const out = r.alloc([m, n]);
  const weights = Array.from({ length: Math.min(24, Math.ceil(2e8 / (n * k))) }, () => {
    const w = r.alloc([n, k]);
    const piece = noise(65536);
    for (let at = 0; at < w.size; at += 65536) r.write(w, piece, at);
    return w;
  });
  console.log(`decoding m=${m} n=${n} k=${k}`);
  for (const tile of [...f16Tiles.slice(1), ...more]) {
    let turn = 0;
    const s = await seconds(() => {
      f16Run({ tile })({ a, b: weights[turn++ % weights.length]!, out, transB: true });
    });
    const name = `${f16Name(tile)} subs ${tile.subsM}×${tile.subsN} bk ${tile.bk}`;
    const rate = `${((2 * n * k) / s / 1e9).toFixed(0)} GB/s of weights`;
    console.log(`  ${name.padEnd(36)} ${(s * 1e6).toFixed(1).padStart(8)} µs  ${rate}`);
  }
  for (const t of [a, out, ...weights]) r.free(t);
}

if (timing) {
  const warm = async () => {
    const [a, out] = [r.alloc([2048, 2048]), r.alloc([2048, 2048])];
    const until = performance.now() + 1500;
    while (performance.now() < until) {
      for (let i = 0; i < 20; i++) f32Run(gpuTiles[0]!)({ a, b: a, out });
      await r.sync();
    }
    r.free(a);
    r.free(out);
  };
  await warm();
  const big = runs.filter(([name]) => /128×128|f32|64×64/.test(name));
  for (const layout of layouts.slice(0, 3)) await time(layout, [4096, 4096, 4096], big);
  const main = runs.filter(([name]) => name.includes('128×128'));
  const [nt, nn, tn] = layouts;
  for (const [o, i] of [
    [2048, 2048],
    [256, 2048],
    [5632, 2048],
    [2048, 5632],
    [32000, 2048],
  ] as const) {
    await time(nt, [4096, o, i], main);
    await time(nn, [4096, i, o], main);
    await time(tn, [o, i, 4096], main);
  }
  for (const m of [1, 64, 256])
    for (const [o, i] of [
      [2048, 2048],
      [11264, 2048],
      [2048, 5632],
      [32000, 2048],
    ] as const)
      await timeDecoding(m, o, i);
}
r.destroy();
process.exit(failures === 0 ? 0 : 1);
