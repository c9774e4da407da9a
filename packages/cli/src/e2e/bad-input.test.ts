/**
 * Bad input through the whole command: one line on stderr that names file, line or option, an exit code, and nothing
 * made or changed on disk.
 */
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';

import { writeSafetensors } from '@realhf/model/node';
import { describe, it } from 'vitest';

import { from, ppo, sft, useBench, writeWeights } from './bench.js';
import { sftRecords, tokenizerJson, vocabSize, writeLines, writeModelDir } from './tiny.js';

const bench = useBench();
const { at, refused } = bench;

describe('models', () => {
  it('missing directory', async () => {
    await refused(sft(bench, { 'model.config': at('nowhere') }), 1, /model: there is no .*nowhere/);
    await refused(
      ppo(bench, { 'critic.config': at('nowhere') }),
      1,
      /critic: there is no .*nowhere/,
    );
  });
  it('no tokenizer.json', async () => {
    writeModelDir(at('bare'), { tokenizer: null });
    await refused(sft(bench, { 'model.config': at('bare') }), 1, /bare has no tokenizer\.json/);
  });
  it('unknown family', async () => {
    writeModelDir(at('foo'), { config: { architectures: ['FooForCausalLM'] } });
    const message =
      /foo\/config\.json: no model family .*FooForCausalLM.*known: .*LlamaForCausalLM/;
    await refused(sft(bench, { 'model.config': at('foo') }), 2, message);
  });
  it('a bad field of config.json', async () => {
    writeModelDir(at('foo'), { config: { hidden_size: 'big' } });
    await refused(sft(bench, { 'model.config': at('foo') }), 2, /foo\/config\.json.*hidden_size/);
    writeFileSync(at('foo', 'config.json'), '{"hidden');
    await refused(sft(bench, { 'model.config': at('foo') }), 1, /foo\/config\.json as JSON/);
  });
  it('no weights, truncated weights, a tensor of another shape, one too few', async () => {
    const words = sft(bench, from(at('m')));
    writeModelDir(at('m'));
    await refused(words, 1, /m has neither model\.safetensors/);
    await writeWeights(bench, at('full'));
    const path = at('m', 'model.safetensors');
    writeFileSync(path, readFileSync(at('full', 'model.safetensors')));
    truncateSync(path, statSync(path).size - 100);
    await refused(words, 1, /m\/model\.safetensors/);
    truncateSync(path, 5);
    await refused(words, 1, /m\/model\.safetensors/);
    const tensor = (...shape: number[]) => ({
      dtype: 'F32' as const,
      shape,
      data: new Float32Array(shape.reduce((a, b) => a * b)),
    });
    await writeSafetensors(path, { 'model.embed_tokens.weight': tensor(vocabSize, 16) });
    await refused(
      words,
      1,
      /m: tensor 'model\.embed_tokens\.weight' has shape \[30,16\].*\[30,32\]/,
    );
    await writeSafetensors(path, { 'model.embed_tokens.weight': tensor(vocabSize, 32) });
    await refused(words, 1, /m lacks 'model\.layers\.0\.input_layernorm\.weight'/);
  });
  it('a tokenizer of another model', async () => {
    writeModelDir(at('small'), { config: { vocab_size: 20 } });
    await refused(
      sft(bench, { 'model.config': at('small') }),
      2,
      /small: .*EOS token is 28.*has 20/,
    );
    writeModelDir(at('small'), {
      config: { vocab_size: 20 },
      tokenizer: {
        ...tokenizerJson,
        added_tokens: tokenizerJson.added_tokens.map((t, i) => ({ ...t, id: i })),
        model: {
          ...tokenizerJson.model,
          vocab: Object.fromEntries(
            Object.entries(tokenizerJson.model.vocab).map(([c, i]) => [c, i + 2]),
          ),
        },
      },
    });
    const message = /sft\.jsonl:1: token \d+ of the tokenizer is outside .* vocabulary of 20/;
    await refused(sft(bench, { 'model.config': at('small') }), 1, message);
  });
  it('another vocabulary in one of four models', async () => {
    writeModelDir(at('other'), { config: { vocab_size: vocabSize + 2 } });
    await refused(
      ppo(bench, { 'rew.config': at('other') }),
      2,
      /reward has a vocabulary of 32.*actor of 30/,
    );
  });
});

describe('datasets', () => {
  const dataset = (lines: readonly unknown[]) => writeLines(at('sft.jsonl'), lines);
  const good = sftRecords(6);

  it('missing, empty, a directory', async () => {
    await refused(
      sft(bench, { 'dataset.train_path': at('no.jsonl') }),
      1,
      /no\.jsonl.*no such file/,
    );
    await refused(sft(bench, { 'dataset.train_path': at('lm') }), 1, /it is a directory/);
    dataset([]);
    await refused(sft(bench), 1, /sft\.jsonl' is empty/);
  });
  it('records that are wrong, by file and line', async () => {
    dataset([...good, { id: 'x', answer: ' b.' }]);
    await refused(sft(bench), 1, /sft\.jsonl:7: record has no 'prompt'; its keys are id, answer/);
    dataset([good[0], '{"id": "x", "prompt": ', good[1]]);
    await refused(sft(bench), 1, /sft\.jsonl:2: not valid JSON/);
    dataset([good[0], good[1], good[0]]);
    await refused(sft(bench), 1, /sft\.jsonl:3: id 'r0' is taken by .*sft\.jsonl:1/);
    dataset([good[0], { ...good[1], answer: 3 }]);
    await refused(sft(bench), 1, /sft\.jsonl:2: 'answer' is a number, expected a string/);
  });
  it('fewer records than a batch', async () => {
    const words = sft(bench, { 'dataset.train_bs_n_seqs': '21' });
    await refused(words, 2, /'dataset\.train_bs_n_seqs' is 21, but the dataset has 20 records/);
  });
  it('prompts that are too long', async () => {
    writeLines(at('prompts.jsonl'), [...sftRecords(8), { id: 'long', prompt: 'a '.repeat(10) }]);
    await refused(
      ppo(bench),
      1,
      /prompts\.jsonl:9: the prompt has 20 tokens, dataset\.max_prompt_len is 16/,
    );
    const tight = ppo(bench, { 'dataset.max_prompt_len': '32', 'ppo.gen.max_new_tokens': '48' });
    await refused(tight, 1, /prompts\.jsonl:9: .*20 tokens.*max_new_tokens is 48.*context of 64/);
  });
  it('sequences longer than the context', async () => {
    dataset([...good, { id: 'long', prompt: 'a', answer: ' b'.repeat(40) }]);
    await refused(sft(bench), 1, /sft\.jsonl:7: the sequence has 82 tokens.*context is 64/);
  });
});

describe('options', () => {
  it('unknown, ill-typed, out of range', async () => {
    await refused(
      sft(bench, { 'model.optimizer.lrr': '1' }),
      2,
      /unknown option.*'model\.optimizer\.lr'\?/,
    );
    await refused(sft(bench, { seed: 'one' }), 2, /'seed' is 'one', expected an integer/);
    await refused(sft(bench, { 'dataset.train_bs_n_seqs': '0' }), 2, /train_bs_n_seqs' is 0/);
  });
  it('a run that exists, without recover; a resume of nothing', async () => {
    mkdirSync(at('real-runs/sft/t'), { recursive: true });
    writeFileSync(at('real-runs/sft/t/config.yaml'), 'seed: 1\n');
    await refused(sft(bench, { trial_name: 't' }), 2, /sft\/t exists already.*recover_mode=auto/);
    const resume = sft(bench, { trial_name: 't', recover: 'resume' });
    await refused(resume, 2, /recover_mode=resume found no complete checkpoint/);
  });
  it('verify without golden.json', async () => {
    await refused(['verify', at('lm')], 1, /cannot read .*lm\/golden\.json; /);
  });
});
