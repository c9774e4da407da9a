/**
 * `real quickstart`: SFT, reward model and PPO on real text, then a report. Stages are runs with recover_mode=auto in
 * one folder, so an interrupted quickstart goes on where it stopped; a finished one is never run over.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
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
import {
  klCap,
  modelJson,
  ppoConfig,
  presetNames,
  presets,
  rwConfig,
  sftConfig,
  type PresetName,
  type StagePaths,
} from './preset.js';
import { reportHtml } from './report-html.js';
import { continueTexts, openModel, readPrompts, rewardsOf } from './sample-texts.js';
import { shortcomings, summaryText, type Summary } from './summary.js';

const stateSchema = z.object({
  quickstart: z.literal(1),
  seed: z.number(),
  preset: z.enum(presetNames).default('standard'),
  seconds: z.number(),
});

/** A kill leaves the old text or the new one. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.tmp`, text);
  renameSync(`${path}.tmp`, path);
}

const stateName = 'quickstart.json';

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

/** Seconds spent so far, kept over restarts; refuses a folder that is not of this quickstart, or is finished. */
class Folder {
  readonly path: string;
  private readonly options: QuickstartOptions;
  private readonly file: string;
  private readonly before: number;
  private readonly began = performance.now();

  constructor(options: QuickstartOptions) {
    const { seed, preset } = options;
    this.options = options;
    this.path = resolve(options.out);
    this.file = join(this.path, stateName);
    if (existsSync(join(this.path, 'summary.json'))) {
      throw new ConfigError(
        `${this.path} holds a finished quickstart (open report.html there); choose another folder with --out`,
      );
    }
    if (existsSync(this.file)) {
      const state = this.state();
      if (state.seed !== seed || state.preset !== preset)
        throw new ConfigError(
          `${this.path} holds a quickstart with seed=${state.seed} preset=${state.preset}; go on with these or choose another folder with --out`,
        );
      this.before = state.seconds;
    } else {
      this.requireEmpty();
      mkdirSync(this.path, { recursive: true });
      this.before = 0;
      this.keepTime();
    }
  }
  get seconds(): number {
    return this.before + (performance.now() - this.began) / 1000;
  }
  keepTime(): void {
    const { seed, preset } = this.options;
    const state = { quickstart: 1, seed, preset, seconds: this.seconds };
    replace(this.file, `${JSON.stringify(state)}\n`);
  }
  private state(): z.infer<typeof stateSchema> {
    try {
      return stateSchema.parse(JSON.parse(readFileSync(this.file, 'utf8')));
    } catch (cause) {
      throw new ConfigError(
        `${this.file} is not what a quickstart writes; choose another folder with --out`,
        { cause },
      );
    }
  }
  private requireEmpty(): void {
    let names: string[];
    try {
      names = readdirSync(this.path);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw new ConfigError(`${this.path} is not a folder; choose another one with --out`, {
        cause,
      });
    }
    // A start that was killed at once leaves the temporary file.
    if (names.some((n) => n !== `${stateName}.tmp`))
      throw new ConfigError(
        `${this.path} is not empty and holds no quickstart; choose another folder with --out`,
      );
  }
}

export interface QuickstartOptions {
  readonly out: string;
  readonly seed: number;
  readonly preset: PresetName;
}

/** Returns the summary, or undefined when a signal interrupted it. */
export async function quickstart(
  options: QuickstartOptions,
  context: RunContext,
  opened?: OpenedOps,
): Promise<Summary | undefined> {
  const folder = new Folder(options);
  const say = (line: string) => context.stderr.write(`${line}\n`);
  const device = opened ?? (await openOps());
  say(`adapter: ${device.gpu.adapterName} (${device.gpu.kind})`);
  // Why it is none faster.
  if (device.gpu.steps.length > 1) say(device.gpu.steps.join('\n'));
  try {
    const summary = await runStages(
      options,
      folder,
      device,
      { ...context, resumeHint: 'run the same command again to go on' },
      say,
    );
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
  { seed, preset }: QuickstartOptions,
  folder: Folder,
  device: OpenedOps,
  context: RunContext,
  say: (line: string) => void,
): Promise<Summary | undefined> {
  const assets = assetsDir();
  const paths: StagePaths = {
    preset: presets[preset],
    assets,
    runs: join(folder.path, 'runs'),
    seed,
  };
  const init = join(folder.path, 'init');
  mkdirSync(init, { recursive: true });
  writeFileSync(
    join(init, 'config.json'),
    JSON.stringify({ ...modelJson, ...paths.preset.model }, null, 2),
  );
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
  replace(join(folder.path, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
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
