/**
 * `real gen`: answers of a model to all prompts of a dataset, as JSONL in the directory of the run. An answer depends on
 * seed and id alone, not on the batch it is in, so a run that goes on writes what the whole run would have.
 */
import { join } from 'node:path';

import { SequenceSample, type Tokenizer } from '@realhf/api';
import { NetworkEngine } from '@realhf/backends';

import { AnswerFile, type Answer } from '../data/answer-file.js';
import { promptDataset } from '../data/from-options.js';
import { createProgress, formatSeconds } from '../log/progress.js';
import { openRunDirectory } from '../log/run-directory.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { genSchema, type GenConfig } from '../options/schemas/gen.js';
import { microbatchesOf, requireOneDevice } from './layout.js';
import { loadModel, roleText } from './load-model.js';
import { withOps, type OpenedOps } from './open-ops.js';

export interface GenResult {
  /** Directory of the run. */
  readonly path: string;
  /** Answers in the output file, or shown. */
  readonly answers: number;
  /** True when a signal ended it early. */
  readonly interrupted: boolean;
}

export async function runGen(
  config: GenConfig,
  context: RunContext,
  opened?: OpenedOps,
): Promise<GenResult> {
  requireOneDevice({ allocation: config.allocation });
  const { dataset, output_file: outputFile } = config;
  const { tokenizer, limits } = await roleText(config.model, 'model');
  const prompts = await promptDataset(dataset, tokenizer, {
    ...limits,
    newTokens: config.gen.max_new_tokens,
    newTokensOption: 'gen.max_new_tokens',
  });
  const { notes } = prompts;
  const items = prompts.items();
  const texts = new Map(items.map((item, i) => [item.ids[0]!, prompts.prepared(i).text]));
  const run = openRunDirectory(config, new Date(), outputFile ?? undefined);
  let file: AnswerFile | undefined;
  try {
    for (const name of run.changed)
      context.stderr.write(`note: option '${name}' differs from the run that is resumed\n`);
    file = outputFile === null ? undefined : new AnswerFile(join(run.path, outputFile));
    file?.checkAgainst(items.flatMap((item) => item.ids));
    const began = performance.now();
    const job: Job = { config, context, tokenizer, items, texts, file, notes };
    const answers = await withOps(opened, config, (device) => answerAll(job, device));
    const interrupted = answers < items.length;
    context.stderr.write(
      interrupted
        ? `stopped after ${answers} of ${items.length} answers; go on with recover_mode=auto trial_name=${run.trialName}\n`
        : `done: ${answers} answers in ${formatSeconds((performance.now() - began) / 1000)}${file ? `; ${file.path}` : ''}\n`,
    );
    return { path: run.path, answers, interrupted };
  } finally {
    file?.close();
    run.close();
  }
}

interface Job {
  readonly config: GenConfig;
  readonly context: RunContext;
  readonly tokenizer: Tokenizer;
  readonly items: readonly SequenceSample[];
  /** Prompts by id. */
  readonly texts: ReadonlyMap<string, string>;
  /** Absent: answers are shown. */
  readonly file: AnswerFile | undefined;
  readonly notes: readonly string[];
}

/** Answers what the file lacks until done or stopped; returns the number of answers there are. */
async function answerAll(job: Job, { ops }: OpenedOps): Promise<number> {
  const { config, context, tokenizer, items, texts, file } = job;
  const options = { role: 'model', options: config.model, isCritic: false, seed: config.seed };
  const { model } = await loadModel(ops, options);
  const engine = new NetworkEngine(model);
  const size = config.dataset.train_bs_n_seqs;
  let done = file?.ids.length ?? 0;
  const before = Math.floor(done / size);
  const total = before + Math.ceil((items.length - done) / size);
  const progress = createProgress({ total, start: before, output: context.stderr });
  try {
    for (const note of job.notes) progress.note(note);
    if (file && done > 0) progress.note(`resumed after ${done} answers of ${file.path}`);
    for (let step = before + 1; done < items.length && !context.signal.aborted; step++) {
      const batch = SequenceSample.gather(items.slice(done, done + size));
      const out = await engine.generate(batch, config.gen, {
        ...microbatchesOf(config.allocation),
        eosTokenId: tokenizer.eosTokenId,
        padTokenId: tokenizer.padTokenId,
        seed: config.seed,
      });
      const answers = batch.ids.map((id, i): Answer => {
        const prompt = texts.get(id) ?? '';
        const tokens = out.tokens[i]!;
        const answer = tokenizer.decode(tokens);
        const seq = prompt + answer;
        return { id, prompt, answer, seq, n_tokens: tokens.length, no_eos: out.noEos[i]! };
      });
      if (file) file.append(answers);
      else progress.note(JSON.stringify(answers[0]));
      done += answers.length;
      const tokens = answers.reduce((n, a) => n + a.n_tokens, 0);
      progress.update({ step, tokens, values: { answers: done, len: tokens / answers.length } });
    }
    return done;
  } finally {
    progress.stop();
    model.free();
  }
}

export const genCommand = defineCommand({
  name: 'gen',
  summary: 'answers of a model to the prompts of a dataset, as JSONL',
  schema: genSchema,
  examples: [
    'real gen experiment_name=my-gen model.path=./sft dataset.path=prompts.jsonl dataset.train_bs_n_seqs=64 gen.max_new_tokens=128 gen.min_new_tokens=0',
  ],
  run: async (config, context) => {
    await runGen(config, context);
  },
});
