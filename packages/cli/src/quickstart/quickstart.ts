/**
 * `real quickstart`: SFT, reward model and PPO on real text, then a report. Stages are runs with recover_mode=auto in
 * one folder, so an interrupted quickstart goes on where it stopped; a finished one is never run over.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

import { ConfigError, DataError } from '@realhf/api';
import { loadTokenizer } from '@realhf/model/node';
import { z } from 'zod';

import { openOps, type OpenedOps } from '../experiments/open-ops.js';
import { runPpo } from '../experiments/ppo.js';
import { runRw } from '../experiments/rw.js';
import { runSft } from '../experiments/sft.js';
import type { RunContext } from '../options/command.js';
import { readCurves } from './curves.js';
import { evaluate, writeSamples } from './evaluate.js';
import { klCap, modelJson, ppoConfig, rwConfig, sftConfig, type StagePaths } from './preset.js';
import { reportHtml } from './report-html.js';
import { continueTexts, openModel, readPrompts, rewardsOf } from './sample-texts.js';
import { shortcomings, summaryText, type Summary } from './summary.js';

const stateSchema = z.object({ quickstart: z.literal(1), seed: z.number(), seconds: z.number() });

/** The data that comes with the package. */
export function assetsDir(): string {
  for (
    let dir = dirname(fileURLToPath(import.meta.url));
    dir !== dirname(dir);
    dir = dirname(dir)
  ) {
    const at = join(dir, 'assets', 'quickstart');
    if (existsSync(at)) return at;
  }
  throw new DataError(
    'the quickstart data (assets/quickstart of @realhf/cli) is missing; install the package again',
  );
}

/** Seconds spent so far, kept over restarts; refuses a folder that is not a quickstart of this seed, or is finished. */
class Folder {
  readonly path: string;
  private readonly seed: number;
  private readonly file: string;
  private readonly before: number;
  private readonly began = performance.now();

  constructor(out: string, seed: number) {
    this.path = resolve(out);
    this.seed = seed;
    this.file = join(this.path, 'quickstart.json');
    if (existsSync(join(this.path, 'summary.json'))) {
      throw new ConfigError(
        `${this.path} holds a finished quickstart (open report.html there); choose another folder with --out`,
      );
    }
    if (existsSync(this.file)) {
      const state = stateSchema.parse(JSON.parse(readFileSync(this.file, 'utf8')));
      if (state.seed !== seed)
        throw new ConfigError(
          `${this.path} holds a quickstart of seed ${state.seed}; go on with seed=${state.seed} or choose another folder with --out`,
        );
      this.before = state.seconds;
    } else {
      if (existsSync(this.path) && readdirSync(this.path).length > 0)
        throw new ConfigError(
          `${this.path} is not empty and holds no quickstart; choose another folder with --out`,
        );
      mkdirSync(this.path, { recursive: true });
      this.before = 0;
      this.keepTime();
    }
  }
  get seconds(): number {
    return this.before + (performance.now() - this.began) / 1000;
  }
  keepTime(): void {
    writeFileSync(
      this.file,
      `${JSON.stringify({ quickstart: 1, seed: this.seed, seconds: this.seconds })}\n`,
    );
  }
}

export interface QuickstartOptions {
  readonly out: string;
  readonly seed: number;
}

/** Returns the summary, or undefined when a signal interrupted it. */
export async function quickstart(
  options: QuickstartOptions,
  context: RunContext,
  opened?: OpenedOps,
): Promise<Summary | undefined> {
  const folder = new Folder(options.out, options.seed);
  const say = (line: string) => context.stderr.write(`${line}\n`);
  const device = opened ?? (await openOps());
  say(`adapter: ${device.gpu.adapterName} (${device.gpu.kind})`);
  if (device.gpu.isCpu) say(device.gpu.steps.join('\n'));
  try {
    const summary = await runStages(options.seed, folder, device, context, say);
    if (summary)
      say(
        `\n${summaryText(summary)}\nreport: ${join(folder.path, 'report.html')}\nmodel: ${join(folder.path, 'model')} (opens in Hugging Face transformers)`,
      );
    for (const line of summary ? shortcomings(summary) : []) say(`note: ${line}`);
    return summary;
  } finally {
    folder.keepTime();
    if (!opened) device.ops.destroy();
  }
}

async function runStages(
  seed: number,
  folder: Folder,
  device: OpenedOps,
  context: RunContext,
  say: (line: string) => void,
): Promise<Summary | undefined> {
  const assets = assetsDir();
  const paths: StagePaths = { assets, runs: join(folder.path, 'runs'), seed };
  const init = join(folder.path, 'init');
  mkdirSync(init, { recursive: true });
  writeFileSync(join(init, 'config.json'), JSON.stringify(modelJson, null, 2));
  for (const f of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(assets, f), join(init, f));

  say('\n1/3 SFT: a language model learns English sentences');
  const sft = await runSft(sftConfig(paths, init), context, device);
  folder.keepTime();
  if (sft.interrupted) return undefined;
  const sftDir = sft.models.default!;

  say('\n2/3 reward model: learns to prefer positive sentences (AFINN labels)');
  const rw = await runRw(rwConfig(paths, sftDir), context, device);
  folder.keepTime();
  if (rw.interrupted) return undefined;
  const rwDir = rw.models.default!;

  const tokenizer = loadTokenizer(init);
  const score = await scoreOfSamples(device, tokenizer, assets, sftDir, rwDir, seed);
  say(
    `\n3/3 PPO: the language model is trained against the reward model (score ${score.mean.toFixed(2)} ± ${score.std.toFixed(2)} before)`,
  );
  const ppo = await runPpo(ppoConfig(paths, sftDir, rwDir, score), context, device);
  folder.keepTime();
  if (ppo.interrupted) return undefined;

  say('\ncontinuing 256 unseen prompts before and after');
  const prompts = readPrompts(join(assets, 'prompts-heldout.jsonl'));
  const actorDir = ppo.models.actor!;
  const result = await evaluate({
    ops: device.ops,
    tokenizer,
    prompts,
    sft: sftDir,
    actor: actorDir,
    reward: rwDir,
    score,
    seed,
  });
  const curves = readCurves({
    sft: join(sft.path, 'metrics.jsonl'),
    rw: join(rw.path, 'metrics.jsonl'),
    ppo: join(ppo.path, 'metrics.jsonl'),
  });
  const summary: Summary = {
    adapter: device.gpu.adapterName,
    seed,
    seconds: folder.seconds,
    steps: curves.steps,
    scoreBefore: result.scoreBefore,
    scoreAfter: result.scoreAfter,
    scoreGainCi95: [result.gain.low, result.gain.high],
    rewardBefore: result.rewardBefore,
    rewardAfter: result.rewardAfter,
    klPerToken: result.klPerToken,
    klCap,
    distinct4Ratio: result.distinct4Ratio,
    heldOutPrompts: prompts.length,
    secondsPerMfc: curves.secondsPerMfc,
  };
  writeSamples(folder.path, result.samples);
  cpSync(actorDir, join(folder.path, 'model'), { recursive: true });
  writeFileSync(join(folder.path, 'report.html'), reportHtml(summary, result, curves));
  // Last: it marks the folder as finished.
  writeFileSync(join(folder.path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  return summary;
}

/** Mean and deviation of the reward model on samples of the SFT model: PPO's rewards are in these units. */
async function scoreOfSamples(
  device: OpenedOps,
  tokenizer: ReturnType<typeof loadTokenizer>,
  assets: string,
  sftDir: string,
  rwDir: string,
  seed: number,
) {
  const prompts = readPrompts(join(assets, 'prompts-train.jsonl')).slice(0, 256);
  const [sft, rw] = [await openModel(device.ops, sftDir), await openModel(device.ops, rwDir, true)];
  const { sample } = await continueTexts(sft, tokenizer, prompts, seed);
  const rewards = Array.from(await rewardsOf(rw, sample));
  sft.free();
  rw.free();
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
  const std = Math.sqrt(rewards.reduce((a, r) => a + (r - mean) ** 2, 0) / rewards.length);
  return { mean, std: Math.max(std, 1e-3) };
}
