/**
 * `real gen`: answers of a model to all prompts of a dataset, as JSONL in the directory of the run. An answer depends on
 * seed and id alone, not on the batch it is in, so a run that goes on writes what the whole run would have.
 */
import { join } from 'node:path';

import type { SequenceSample, Tokenizer } from '@realhf/api';
import { sequenceSeeds } from '@realhf/backends';
import { GenerationEngine, type Generation, type ReaLModel } from '@realhf/model';

import { AnswerFile, type Answer } from '../data/answer-file.js';
import { promptDataset } from '../data/from-options.js';
import { createProgress, formatSeconds } from '../log/progress.js';
import { openRunDirectory } from '../log/run-directory.js';
import { defineCommand, type RunContext } from '../options/command.js';
import { genSchema, type GenConfig } from '../options/schemas/gen.js';
import { withGenWorkers } from '../runtime/gen-workers.js';
import type { Answerer } from './answerer.js';
import { requireOneDevice } from './layout.js';
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
  const many = config.n_nodes * config.n_gpus_per_node > 1;
  if (!many) requireOneDevice({ allocation: config.allocation });
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
    const answers = many
      ? await withGenWorkers(config, run, context, (answerer) => answerAll(job, answerer))
      : await withOps(opened, config, (device) => onDevice(job, device));
    const interrupted = answers < items.length;
    if (many) run.status.set({ state: interrupted ? 'INTERRUPTED' : 'COMPLETED' });
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
async function answerAll(job: Job, answerer: Answerer): Promise<number> {
  const { config, context, tokenizer, items, texts, file } = job;
  const size = config.dataset.train_bs_n_seqs;
  let done = file?.ids.length ?? 0;
  let asked = done;
  const before = Math.floor(done / size);
  const total = before + Math.ceil((items.length - done) / size);
  const progress = createProgress({ total, start: before, output: context.stderr });
  const batches: {
    readonly ids: readonly string[];
    readonly answers: ReturnType<Answerer['submit']>;
  }[] = [];
  const askNext = () => {
    const batch = items.slice(asked, asked + size);
    if (batch.length === 0) return;
    batches.push({ ids: batch.flatMap((item) => item.ids), answers: answerer.submit(batch) });
    asked += batch.length;
  };
  try {
    for (const note of job.notes) progress.note(note);
    if (file && done > 0) progress.note(`resumed after ${done} answers of ${file.path}`);
    askNext();
    for (let step = before + 1; batches.length > 0 && !context.signal.aborted; step++) {
      askNext();
      const batch = batches.shift()!;
      const answers = (await batch.answers()).map(({ tokens, noEos }, i): Answer => {
        const id = batch.ids[i]!;
        const prompt = texts.get(id) ?? '';
        const answer = tokenizer.decode(tokens);
        const seq = prompt + answer;
        return { id, prompt, answer, seq, n_tokens: tokens.length, no_eos: noEos };
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
    await answerer.close();
  }
}

/** While a batch is finished the next one joins it, so the device does not wait for the longest answer. */
async function onDevice(job: Job, { ops }: OpenedOps): Promise<number> {
  const { config, tokenizer } = job;
  const options = { role: 'model', options: config.model, isCritic: false, seed: config.seed };
  const { model } = await loadModel(ops, options);
  const engine = newEngine(model, job);
  const stopIds = tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId];
  const begun = new Set<Generation>();
  return answerAll(job, {
    submit: (batch) => {
      const seeds = sequenceSeeds(
        config.seed,
        batch.flatMap((item) => item.ids),
      );
      const answers = batch.map((item, i) =>
        engine.submit({
          prompt: item.i32('packed_prompts'),
          gconfig: config.gen,
          seed: seeds[i]!,
          stopIds,
        }),
      );
      for (const g of answers) begun.add(g);
      return async () => {
        const out = await Promise.all(answers.map((g) => g.result()));
        for (const g of answers) begun.delete(g);
        return out.map(({ tokens, finish }) => ({ tokens, noEos: finish === 'length' }));
      };
    },
    close: async () => {
      for (const g of begun) g.cancel();
      await engine.run().finally(() => {
        engine.free();
        model.free();
      });
    },
  });
}

/** As many sequences at once as a batch has, or a part of it with n_mbs. */
function newEngine(model: ReaLModel, { config, tokenizer, items }: Job): GenerationEngine {
  const { gen, dataset, allocation } = config;
  const maxSequences =
    gen.max_running ?? Math.ceil(dataset.train_bs_n_seqs / (allocation.n_mbs ?? 1));
  const longest = items.reduce((n, item) => Math.max(n, item.i32('packed_prompts').length), 0);
  return new GenerationEngine(model, {
    kvBytes: (gen.kv_gib ?? 4) * 2 ** 30,
    kvTokens: maxSequences * 16 * Math.ceil((longest + gen.max_new_tokens) / 16),
    maxSequences,
    padTokenId: tokenizer.padTokenId ?? tokenizer.eosTokenId ?? 0,
  });
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
