/**
 * Trains a small llama on made-up text twice from the same weights and batches, with f32 and with f16 products, and keeps
 * both loss curves; and shows that a loss scale would change nothing: gradients of a loss times 2^24 and 2^-24 are those of
 * the loss, so scaled. `node tools/bench-gpu.mjs --loss-curve DIR` writes loss-curve-f16.json and .svg there.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { optimizerSchema, SequenceSample, type Loss } from '@realhf/api';
import { AdamEngine, WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { ReaLModel, sftLoss } from '@realhf/model';

import { llama } from '../bench-model/shapes.js';

const config = llama(256, 4, 4, 2, 768, 512);
const [batch, length] = [16, 256];

/** mulberry32: uniform in [0, 1). */
function uniform(seed: number): () => number {
  let s = seed;
  return () => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Text in which the last two tokens tell the next one four times out of five. */
function batchOf(step: number): SequenceSample {
  const rand = uniform(step);
  const tokens = new Int32Array(batch * length);
  for (let i = 0; i < tokens.length; i++) {
    const [a, b] = [tokens[i - 1] ?? 0, tokens[i - 2] ?? 0];
    const told = (31 * a + 17 * (b % 7) + 5) % 512;
    tokens[i] = i % length > 1 && rand() < 0.8 ? told : Math.floor(512 * rand());
  }
  const ids = Array.from({ length: batch }, (_, i) => `${step}.${i}`);
  return SequenceSample.fromDefault({
    ids,
    seqlens: ids.map(() => length),
    data: { packed_input_ids: tokens, prompt_mask: new Uint8Array(tokens.length) },
  });
}

async function engineOf(precision: 'f32' | 'f16'): Promise<{ ops: WebGpuOps; engine: AdamEngine }> {
  const gpu = await openGpu();
  const ops = new WebGpuOps({
    device: gpu.device,
    adapter: gpu.adapterName,
    isCpu: gpu.isCpu,
    matmulPrecision: precision,
    adapterInfo: gpu.info,
  });
  const model = new ReaLModel({ ops, config });
  model.init(1);
  const optimizer = optimizerSchema.parse({ lr: 1e-3, warmup_steps_proportion: 0.02 });
  return { ops, engine: new AdamEngine(model, { optimizer, totalSteps: 500 }) };
}

/** Losses of `steps` train steps. */
async function curve(precision: 'f32' | 'f16', steps: number): Promise<number[]> {
  const { ops, engine } = await engineOf(precision);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++)
    losses.push((await engine.trainBatch(batchOf(step), sftLoss, { versionSteps: step })).loss!);
  ops.destroy();
  return losses;
}

/** The largest difference of f16 gradients of a loss times 2^power, divided by that, of the loss's own; over their norm. */
async function scaleDifference(power: number): Promise<number> {
  const { ops, engine } = await engineOf('f16');
  const factor = 2 ** power;
  const scaled: Loss = {
    ...sftLoss,
    weight: (s) => sftLoss.weight(s),
    compute: (input) => {
      const out = sftLoss.compute(input);
      return { ...out, dLogProbs: out.dLogProbs!.map((d) => d * factor) };
    },
  };
  // Skipping the step leaves gradients and weights as they are.
  const gradients = async (loss: Loss) => {
    await engine.trainBatch(
      batchOf(1),
      { ...loss, skipStep: () => 'only its gradients' },
      { versionSteps: 0 },
    );
    return Promise.all(engine.network.gradients().map((g) => ops.read(g)));
  };
  const own = await gradients({ ...scaled, compute: (x) => sftLoss.compute(x) });
  const other = await gradients(scaled);
  let [worst, squares] = [0, 0];
  own.forEach((g, i) => {
    g.forEach((x, k) => {
      worst = Math.max(worst, Math.abs(other[i]![k]! / factor - x));
      squares += x * x;
    });
  });
  ops.destroy();
  return worst / Math.sqrt(squares);
}

/** Runs both and writes loss-curve-f16.json and loss-curve-f16.svg to `directory`. */
export async function lossCurve(directory: string, steps = 500): Promise<void> {
  const gpu = await openGpu();
  const where = `${gpu.adapterName}, ${gpu.driver}`;
  const powers = [24, -24];
  const scaling: Record<string, number> = {};
  for (const p of powers) scaling[`2^${p}`] = await scaleDifference(p);
  const [f32, f16] = [await curve('f32', steps), await curve('f16', steps)];
  const tail = (xs: readonly number[]) =>
    xs.slice(-50).reduce((a, b) => a + b, 0) / Math.min(50, xs.length);
  const gap = Math.max(...f16.map((x, i) => Math.abs(x - f32[i]!)));
  console.log(
    `${where}: ${steps} steps, loss of the last 50: f32 ${tail(f32).toFixed(4)}, f16 ${tail(f16).toFixed(4)}; largest difference ${gap.toFixed(4)}; gradients of a scaled loss differ by ${JSON.stringify(scaling)} of their norm`,
  );
  const report = { adapter: where, date: new Date().toISOString(), gap, scaling };
  const round = (xs: readonly number[]) => xs.map((x) => Number(x.toFixed(5)));
  writeFileSync(
    join(directory, 'loss-curve-f16.json'),
    `${JSON.stringify({ ...report, f32: round(f32), f16: round(f16) })}\n`,
  );
  writeFileSync(join(directory, 'loss-curve-f16.svg'), svg(f32, f16, where));
}

function svg(f32: readonly number[], f16: readonly number[], where: string): string {
  const [w, h, left, bottom] = [640, 320, 48, 36];
  const top = Math.ceil(Math.max(...f32, ...f16));
  const x = (i: number) => (left + (i / (f32.length - 1)) * (w - left - 12)).toFixed(1);
  const y = (v: number) => (h - bottom - (v / top) * (h - bottom - 16)).toFixed(1);
  const line = (values: readonly number[], style: string) =>
    `<polyline fill="none" ${style} points="${values.map((v, i) => `${x(i)},${y(v)}`).join(' ')}"/>`;
  const text = (at: string, s: string) => `<text ${at}>${s}</text>`;
  const marks = Array.from({ length: top + 1 }, (_, v) =>
    [
      `<line x1="${left}" x2="${w - 12}" y1="${y(v)}" y2="${y(v)}" stroke="#ddd"/>`,
      text(`x="${left - 8}" y="${Number(y(v)) + 4}" text-anchor="end"`, `${v}`),
    ].join('\n'),
  );
  const steps = [0, 0.25, 0.5, 0.75, 1].map((f) => {
    const i = Math.round(f * (f32.length - 1));
    return text(`x="${x(i)}" y="${h - 18}" text-anchor="middle"`, `${i}`);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" font-family="sans-serif" font-size="12">`,
    `<rect width="${w}" height="${h}" fill="white"/>`,
    ...marks,
    ...steps,
    line(f32, 'stroke="#1f77b4" stroke-width="3" opacity="0.6"'),
    line(f16, 'stroke="#d62728" stroke-width="1"'),
    text(`x="${w - 16}" y="30" text-anchor="end" fill="#1f77b4"`, 'f32 (wide)'),
    text(`x="${w - 16}" y="46" text-anchor="end" fill="#d62728"`, 'f16 products (thin)'),
    text(`x="${left}" y="${h - 3}"`, `loss by train step; ${where}`),
    '</svg>\n',
  ].join('\n');
}
