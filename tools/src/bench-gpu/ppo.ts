/**
 * One PPO iteration of four models of one shape on one GPU (actor, critic, reference, reward; actor and critic with f32
 * masters and Adam), by MFC: seconds, and memory after each. Weights are made up, answers have full length.
 */
import { generationSchema, optimizerSchema, SequenceSample, type Model } from '@realhf/api';
import { AdamEngine, NetworkEngine, type WebGpuOps } from '@realhf/backends';
import { PairedRewardInterface, PpoActorInterface, PpoCriticInterface } from '@realhf/model';

import { madeUpModel, shapes } from '../bench-model/shapes.js';
import { digits, ratio, verdict, type Peer } from './table.js';
import { GpuTimeline, idleShare, joined, type Span } from './timeline.js';

/** What is measured. */
export interface PpoBenchOptions {
  readonly shape: string;
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
  readonly minibatches: number;
  readonly maxTokensPerMb: number;
  readonly checkpointing: boolean;
  /** Iterations, of which the first warms up. */
  readonly iterations: number;
}

/** Seconds of one MFC in the last iteration, and when it began after the iteration did. */
export interface PpoPart {
  readonly name: string;
  readonly begin: number;
  readonly seconds: number;
  /** Share of the time in which the GPU did nothing. */
  readonly idle: number;
  /** When it worked, nanoseconds from its first pass on. */
  readonly busy: readonly Span[];
}

/** Runs the iterations and prints a line for each MFC of each; the parts of the last. */
export async function benchPpo(ops: WebGpuOps, o: PpoBenchOptions): Promise<PpoPart[]> {
  const base = shapes[o.shape];
  if (!base) throw new Error(`shape ${o.shape}: known are ${Object.keys(shapes).join(', ')}`);
  const optimizer = optimizerSchema.parse({ lr: 1e-6 });
  const gib = () => (ops.memory().held / 2 ** 30).toFixed(1);
  const tokenizer = {
    vocabSize: base.vocabSize,
    eosTokenId: 2,
    padTokenId: 0,
    bosTokenId: 1,
    encode: () => new Int32Array(),
    decode: () => '',
  };
  const make = (role: string, isCritic: boolean, trained: boolean): Model => {
    const net = madeUpModel(ops, { ...base, isCritic }, o.checkpointing && trained);
    const engine = trained
      ? new AdamEngine(net, { optimizer, totalSteps: 1000 })
      : new NetworkEngine(net);
    return {
      name: { role, replicaId: 0 },
      engine,
      tokenizer,
      version: { epoch: 0, epochStep: 0, globalStep: 0 },
      seed: 1,
    };
  };
  const [actor, critic] = [make('actor', false, true), make('critic', true, true)];
  const [ref, reward] = [make('ref', false, false), make('reward', true, false)];
  console.log(`four models of shape ${o.shape}: ${gib()} GiB held`);
  const gen = generationSchema.parse({
    max_new_tokens: o.newTokens,
    min_new_tokens: o.newTokens,
    top_p: 1,
    top_k: base.vocabSize,
    force_no_logits_mask: true,
  });
  const ppo = { gen, ppo_n_minibatches: o.minibatches, kl_ctl: 0.1 };
  const policy = new PpoActorInterface(ppo);
  const value = new PpoCriticInterface(ppo);
  const scores = new PairedRewardInterface();
  const length = o.promptTokens + o.newTokens;
  const nMbs = (per: number) => ({ nMbs: Math.max(1, Math.ceil(per / o.maxTokensPerMb)) });
  const whole = nMbs(o.batch * length);
  const minibatch = nMbs((o.batch * length) / o.minibatches);
  const timeline = new GpuTimeline(ops.recorder.device);
  let parts: PpoPart[] = [];
  for (let i = 0; i < o.iterations; i++) {
    parts = [];
    await ops.sync();
    const start = performance.now();
    const timed = async <T>(name: string, body: () => Promise<T>): Promise<T> => {
      timeline.start();
      const began = performance.now();
      const out = await body();
      await ops.sync();
      const seconds = (performance.now() - began) / 1000;
      const spans = await timeline.stop();
      const idle = idleShare(spans, seconds);
      const busy = joined(spans, 2e5);
      parts.push({ name, begin: (began - start) / 1000, seconds, idle, busy });
      console.log(
        `  ${name.padEnd(18)} ${seconds.toFixed(3)} s  ${gib()} GiB held  GPU idle ${(100 * idle).toFixed(1)} %`,
      );
      return out;
    };
    const ids = Array.from({ length: o.batch }, (_, k) => `${i}.${k}`);
    const prompts = SequenceSample.fromDefault({
      ids,
      seqlens: ids.map(() => o.promptTokens),
      data: {
        packed_prompts: Int32Array.from(
          { length: o.batch * o.promptTokens },
          () => 3 + Math.floor(Math.random() * (base.vocabSize - 3)),
        ),
      },
    });
    const sample = await timed('actor generate', () => policy.generate(actor, prompts, {}));
    sample.update(await timed('reward inference', () => scores.inference(reward, sample, whole)));
    sample.update(await timed('ref inference', () => policy.inference(ref, sample, whole)));
    sample.update(await timed('critic inference', () => value.inference(critic, sample, whole)));
    await timed('critic train', () => value.trainStep(critic, sample, minibatch));
    const stats = await timed('actor train', () => policy.trainStep(actor, sample, minibatch));
    const all = (performance.now() - start) / 1000;
    console.log(`iteration ${i}: ${all.toFixed(3)} s, grad norm ${String(stats.grad_norm)}`);
  }
  return parts;
}

/** Rows: MFC, seconds, idle share of the GPU, the peer's seconds, its over ours, floor. */
export function ppoRows(
  parts: readonly PpoPart[],
  o: PpoBenchOptions,
  peak: number,
  peer: Peer,
): string[][] {
  const tokens = o.batch * (o.promptTokens + o.newTokens);
  const { generate, inference, 'train, checkpointing': train } = peer.model ?? {};
  const beside = (name: string): number | undefined => {
    if (name.endsWith('generate')) return generate && (o.batch * o.newTokens) / generate;
    const rate = name.endsWith('train') ? train : inference;
    return rate && tokens / rate;
  };
  const rows = parts.map(({ name, seconds, idle }) => {
    const its = beside(name);
    return [
      name,
      digits(seconds, 3),
      `${digits(100 * idle)} %`,
      digits(its, 3),
      its ? ratio(its, seconds) : '',
      '',
    ];
  });
  const all = parts.reduce((s, p) => s + p.seconds, 0);
  const idle = parts.reduce((s, p) => s + p.seconds * p.idle, 0) / all;
  const theirs = parts.reduce<number | undefined>((s, p) => {
    const its = beside(p.name);
    return s === undefined || its === undefined ? undefined : s + its;
  }, 0);
  rows.push([
    `all, ${(peak / 2 ** 30).toFixed(1)} GiB held at most`,
    digits(all, 3),
    `${digits(100 * idle)} %`,
    digits(theirs, 3),
    theirs ? ratio(theirs, all) : '',
    theirs ? verdict(theirs / all, 1, 0.7) : '',
  ]);
  return rows;
}
