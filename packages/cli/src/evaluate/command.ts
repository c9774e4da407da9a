/** The `real eval` command: a judge's rewards and win rates on held-out prompts, or perplexity on prompts and answers. */
import { writeFileSync } from 'node:fs';

import { defineCommand, type RunContext } from '../options/command.js';
import { withOps, type OpenedOps } from '../experiments/open-ops.js';
import type { Interval } from './bootstrap.js';
import { judge, type JudgeResult } from './judge.js';
import { evalSchema, hasJudge, type EvalConfig } from './options.js';
import { perplexity, type PerplexityResult } from './perplexity.js';

const digits = (x: number) => String(Number(x.toPrecision(4)));
const interval = ({ mean, low, high }: Interval) =>
  `${digits(mean)}  95 % interval [${digits(low)}, ${digits(high)}]`;

function judgeText(r: JudgeResult): string[] {
  const one = (name: string, { reward, len }: JudgeResult['model']) =>
    `${name}: reward ${interval(reward)}  len ${digits(len)}`;
  return [
    `prompts: ${r.ids.length}`,
    one('model', r.model),
    ...(r.against && r.winRate && r.gain && r.kl
      ? [
          one('against', r.against),
          `win rate: ${interval(r.winRate)}  (${r.wins} won, ${r.ties} tied, ${r.ids.length - (r.wins ?? 0) - (r.ties ?? 0)} lost)`,
          `gain: ${interval(r.gain)}`,
          `kl to against, nats per token: ${interval(r.kl)}`,
        ]
      : []),
  ];
}

function perplexityText(r: PerplexityResult): string[] {
  return [
    `records: ${r.records}  answer tokens: ${r.tokens}`,
    `model: perplexity ${interval(r.perplexity)}`,
    ...(r.against && r.ratio
      ? [`against: perplexity ${interval(r.against)}`, `model / against: ${interval(r.ratio)}`]
      : []),
  ];
}

/** Prints and returns the numbers. Throws what `judge` and `perplexity` throw. */
export async function runEval(
  config: EvalConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<JudgeResult | PerplexityResult> {
  return withOps(opened, config, async ({ ops }) => {
    const judged = hasJudge(config) ? await judge(config, ops) : undefined;
    const result = judged ?? (await perplexity(config, ops));
    const lines = 'ids' in result ? judgeText(result) : perplexityText(result);
    context.stdout.write(`${lines.join('\n')}\n`);
    if (config.out !== null) writeFileSync(config.out, `${JSON.stringify(result, null, 2)}\n`);
    return result;
  });
}

export const evalCommand = defineCommand({
  name: 'eval',
  summary: 'reward, win rate against another model, or perplexity, with intervals',
  schema: evalSchema,
  positional: ['model'],
  examples: [
    'real eval ./ppo against=./sft rew.path=./rw dataset.path=held-out.jsonl gen.max_new_tokens=128 gen.min_new_tokens=0',
    'real eval ./sft dataset.path=valid.jsonl',
  ],
  run: async (config, context) => {
    await runEval(config, context);
  },
});
