/**
 * `npm run bench:gen`: tokens per second of the generation engine on this adapter, as rows of a Markdown table: answers of
 * one length against answers whose lengths differ tenfold, beside what a static batch would take for these, and sweeps
 * over the batch, the prompt and the answer. `--shape tiny|1b`, `--precision f32|f16`, `--fused`, `--slots 32 --requests 128
 * --prompt 32 --new 33`, `--only lengths|static|slots|prompt|new|group`.
 */
import { parseArgs } from 'node:util';

import { generationSchema } from '@realhf/api';
import { WebGpuOps } from '@realhf/backends';
import { openGpu } from '@realhf/backends/node';
import { GenerationEngine, type EngineCounts, type ReaLModel } from '@realhf/model';

import { madeUpModel, shapes } from '../bench-model/shapes.js';

interface Job {
  readonly slots: number;
  /** New tokens of each request. */
  readonly lengths: readonly number[];
  readonly prompt: number;
  /** Requests that share a prompt. */
  readonly group?: number;
  readonly longestFirst?: boolean;
}

interface Timing {
  readonly seconds: number;
  readonly counts: EngineCounts;
  readonly kvMiB: number;
}

async function timeJob(model: ReaLModel, clock: () => number, job: Job): Promise<Timing> {
  const { vocabSize } = model.config;
  const pageSize = 16;
  const pages = Math.ceil((job.prompt + Math.max(...job.lengths)) / pageSize);
  const engine = new GenerationEngine(model, {
    pageSize,
    maxSequences: job.slots,
    kvTokens: job.slots * pages * pageSize,
    longestFirst: job.longestFirst ?? false,
  });
  const began = clock();
  const prompts = job.lengths.map((_, i) => {
    const first = 3 + (Math.floor(i / (job.group ?? 1)) % (vocabSize - 3));
    return Int32Array.from(
      { length: job.prompt },
      (_unused, t) => 3 + ((first + 7 * t) % (vocabSize - 3)),
    );
  });
  job.lengths.forEach((length, i) => {
    const gconfig = generationSchema.parse({
      max_new_tokens: length,
      min_new_tokens: 0,
      top_p: 1,
      top_k: vocabSize,
      force_no_logits_mask: true,
    });
    engine.submit({ prompt: prompts[i]!, gconfig, seed: i });
  });
  await engine.run();
  const seconds = clock() - began;
  const timing = { seconds, counts: { ...engine.counts }, kvMiB: engine.kvBytes / 2 ** 20 };
  engine.free();
  return timing;
}

/** n lengths from a tenth of the longest to the longest in random order, with this mean. */
function skewed(n: number, mean: number): number[] {
  const longest = (2 * mean * 10) / 11;
  const lengths = Array.from({ length: n }, (_, i) =>
    Math.max(1, Math.round(longest * (0.1 + (0.9 * i) / (n - 1)))),
  );
  let u = 12345;
  for (let i = n - 1; i > 0; i--) {
    u = (Math.imul(u, 1664525) + 1013904223) >>> 0;
    const j = u % (i + 1);
    [lengths[i], lengths[j]] = [lengths[j]!, lengths[i]!];
  }
  return lengths;
}

const sum = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0);

export async function main(_root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      shape: { type: 'string', default: 'tiny' },
      precision: { type: 'string', default: 'f32' },
      fused: { type: 'boolean', default: false },
      slots: { type: 'string', default: '32' },
      requests: { type: 'string', default: '128' },
      prompt: { type: 'string', default: '32' },
      new: { type: 'string', default: '33' },
      only: { type: 'string', default: 'lengths,static,slots,prompt,new,group' },
    },
  });
  const config = shapes[values.shape];
  if (!config)
    throw new Error(`--shape ${values.shape}: known are ${Object.keys(shapes).join(', ')}`);
  const gpu = await openGpu();
  const ops = new WebGpuOps({
    device: gpu.device,
    adapter: gpu.adapterName,
    isCpu: gpu.isCpu,
    ...(values.precision === 'f16'
      ? { matmulPrecision: 'f16' as const, adapterInfo: gpu.info, fusedDecode: values.fused }
      : {}),
  });
  const model = madeUpModel(ops, config);
  const [slots, requests, prompt, length] = [
    Number(values.slots),
    Number(values.requests),
    Number(values.prompt),
    Number(values.new),
  ];
  console.log(
    `${gpu.adapterName}, ${gpu.driver}; shape ${values.shape}, matmul ${ops.recorder.f16Matmul ? 'f16' : 'f32'}`,
  );
  // Seconds; on software adapters of all threads of this process, which other work on the machine disturbs less.
  const cpuSeconds = () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  };
  const clock = gpu.isCpu ? cpuSeconds : () => performance.now() / 1000;
  console.log(
    `tokens/s: per second of ${gpu.isCpu ? 'CPU time' : 'wall clock'}, the better of two runs`,
  );
  console.log(
    '| what | prompt | new tokens | slots | tokens/s | rows empty | prompt tokens run | KV MiB |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  // Compiles.
  await timeJob(model, clock, { slots: 4, lengths: [4, 9, 9], prompt: 8, group: 2 });

  /** Best of two, since other work may come between. */
  async function row(what: string, job: Job, useful = sum(job.lengths)): Promise<number> {
    const runs = [await timeJob(model, clock, job), await timeJob(model, clock, job)];
    const best = runs[0]!.seconds <= runs[1]!.seconds ? runs[0]! : runs[1]!;
    const speed = useful / best.seconds;
    const { counts } = best;
    const lengths = [Math.min(...job.lengths), Math.max(...job.lengths)];
    const empty = 1 - (useful - job.lengths.length) / Math.max(1, counts.decodeRows);
    console.log(
      `| ${what} | ${job.prompt} | ${[...new Set(lengths)].join('–')} × ${job.lengths.length} | ${job.slots} | ${speed.toFixed(speed < 100 ? 1 : 0)} | ${(100 * empty).toFixed(0)} % | ${counts.promptTokens} | ${best.kvMiB.toFixed(1)} |`,
    );
    return speed;
  }
  const only = values.only.split(',');
  const same = (n: number, l = length) => Array<number>(n).fill(l);
  if (only.includes('lengths')) {
    const varied = skewed(requests, length);
    const equal = await row('equal lengths', { slots, lengths: same(requests), prompt });
    const continuous = await row('tenfold lengths', { slots, lengths: varied, prompt });
    const longest = await row('tenfold lengths, longest first', {
      slots,
      lengths: varied,
      prompt,
      longestFirst: true,
    });
    console.log(
      `tenfold / equal lengths: ${(continuous / equal).toFixed(2)}, longest first ${(longest / equal).toFixed(2)}`,
    );
  }
  if (only.includes('static')) {
    const varied = skewed(requests, length);
    // A static batch runs until its longest sequence ends.
    let seconds = 0;
    for (let at = 0; at < requests; at += slots) {
      const part = varied.slice(at, at + slots);
      const longest = same(part.length, Math.max(...part));
      const job = { slots, lengths: longest, prompt };
      const runs = [await timeJob(model, clock, job), await timeJob(model, clock, job)];
      seconds += Math.min(...runs.map((r) => r.seconds));
    }
    const fixed = sum(varied) / seconds;
    console.log(`tenfold lengths in static batches: ${fixed.toFixed(0)} tokens/s`);
    await row('one batch of equal lengths', { slots, lengths: same(slots), prompt });
    await row('one batch of tenfold lengths', { slots, lengths: skewed(slots, length), prompt });
  }
  if (only.includes('slots'))
    for (const n of [1, 4, 16, 64]) await row('batch', { slots: n, lengths: same(n), prompt });
  if (only.includes('prompt'))
    for (const p of [16, 128, 512])
      await row('prompt length', { slots: 16, lengths: same(16), prompt: p });
  if (only.includes('new'))
    for (const l of [16, 64, 256])
      await row('answer length', { slots: 16, lengths: same(16, l), prompt });
  if (only.includes('group')) {
    const job = { slots: 32, lengths: same(32, 16), prompt: 256 };
    await row('32 prompts', job);
    await row('2 prompts, 16 answers each', { ...job, group: 16 });
  }
  model.free();
  ops.destroy();
  return 0;
}
