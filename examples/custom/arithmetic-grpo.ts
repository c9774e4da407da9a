/**
 * Verifiable rewards: a tiny model learns sums of three digits from few examples, then GRPO with an exact-match reward
 * in TypeScript (arithmetic-reward.ts) trains it on problems alone. Accuracy is measured on problems of neither.
 *
 * In this repository: npm run example custom/arithmetic-grpo
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

import { commands, runCli } from '@realhf/cli';

const dir = mkdtempSync(join(tmpdir(), 'arithmetic-'));
const model = join(dir, 'model');

/** A token per character, then the end of text and padding. */
function writeModel(): void {
  const letters = Array.from('0123456789+=');
  const eos = letters.length;
  const special = (content: string, i: number) => ({
    ...{ id: eos + i, content, special: true, normalized: false },
    ...{ single_word: false, lstrip: false, rstrip: false },
  });
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  const tokenizer = {
    version: '1.0',
    added_tokens: ['<|end|>', '<|pad|>'].map(special),
    normalizer: null,
    pre_tokenizer: bytes,
    post_processor: null,
    decoder: bytes,
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(letters.map((c, i) => [c, i])),
      merges: [],
    },
  };
  const config = {
    ...{ model_type: 'llama', hidden_size: 48, intermediate_size: 96, num_hidden_layers: 2 },
    ...{ num_attention_heads: 3, num_key_value_heads: 3, max_position_embeddings: 16 },
    ...{ vocab_size: eos + 2, rms_norm_eps: 1e-5, tie_word_embeddings: true },
    ...{ bos_token_id: eos, eos_token_id: eos, pad_token_id: eos + 1, initializer_range: 0.1 },
  };
  mkdirSync(model);
  const write = (name: string, value: unknown) => {
    writeFileSync(join(model, name), JSON.stringify(value));
  };
  write('config.json', config);
  write('tokenizer.json', tokenizer);
  write('tokenizer_config.json', { eos_token: '<|end|>', pad_token: '<|pad|>' });
}

/** All problems in an order that looks like chance and is always the same: 400 for SFT, 400 for GRPO, 200 to measure. */
function writeProblems(): void {
  const problems = Array.from({ length: 1000 }, (_, i) => {
    const n = (i * 387 + 71) % 1000;
    const digits = [Math.floor(n / 100), Math.floor(n / 10) % 10, n % 10];
    const sum = String(digits[0]! + digits[1]! + digits[2]!);
    return { id: `p${n}`, prompt: `${digits.join('+')}=`, answer: sum, sum };
  });
  const write = (name: string, part: readonly unknown[]) => {
    writeFileSync(join(dir, name), part.map((p) => `${JSON.stringify(p)}\n`).join(''));
  };
  write('sft.jsonl', problems.slice(0, 400));
  write('grpo.jsonl', problems.slice(400, 800));
  write('heldout.jsonl', problems.slice(800));
}

async function real(words: readonly string[]): Promise<void> {
  const code = await runCli(commands, [...words, `fileroot=${dir}`, 'trial_name=run'], {
    ...{ stdout: process.stdout, stderr: process.stderr, env: process.env, version: '' },
    signal: new AbortController().signal,
  });
  if (code !== 0) throw new Error(`real ${words[0]!} ended with ${code}`);
}

/** Share of held-out problems that a model answers right, greedily. */
async function accuracy(name: string, path: string): Promise<number> {
  await real([
    ...['gen', `experiment_name=${name}`, `model.path=${path}`, 'gen.greedy=true'],
    ...[`dataset.path=${dir}/heldout.jsonl`, 'dataset.train_bs_n_seqs=200'],
    ...['gen.max_new_tokens=3', 'gen.min_new_tokens=1'],
  ]);
  const sums = new Map(lines(`${dir}/heldout.jsonl`).map((p) => [p.id, p.sum]));
  const answers = lines(`${dir}/${name}/run/output.jsonl`);
  return answers.filter((a) => a.answer === sums.get(a.id)).length / answers.length;
}
const lines = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l) as Record<string, string>);
/** Hugging Face directory of the newest checkpoint. */
function trained(name: string, role: string): string {
  const checkpoints = `${dir}/${name}/run/checkpoints`;
  const newest = readdirSync(checkpoints)
    .filter((f) => f.startsWith('step-'))
    .sort()
    .at(-1)!;
  return `${checkpoints}/${newest}/models/${role}`;
}

writeModel();
writeProblems();
await real([
  ...['sft', 'experiment_name=sft', 'model.init_from_scratch=true', `model.config=${model}`],
  ...[`dataset.train_path=${dir}/sft.jsonl`, 'dataset.train_bs_n_seqs=50'],
  ...[
    'model.optimizer.lr=0.008',
    'model.gradient_checkpointing=false',
    `exp_ctrl.total_train_epochs=${process.env.SFT ?? 8}`,
  ],
]);
console.log(dir);
const sft = trained('sft', 'default');
const before = await accuracy('before', sft);
await real([
  ...['grpo', 'experiment_name=grpo', `actor.path=${sft}`, 'ppo.kl_ctl=0', 'group_size=8'],
  ...['reward.fn=examples/custom/arithmetic-reward.ts'],
  ...[`dataset.path=${dir}/grpo.jsonl`, 'dataset.train_bs_n_seqs=50', 'ppo.ppo_n_minibatches=1'],
  ...[
    'ppo.gen.max_new_tokens=3',
    'ppo.gen.min_new_tokens=1',
    'ppo.gen.top_p=1',
    'ppo.gen.top_k=14',
  ],
  ...[
    'actor.optimizer.lr=0.002',
    'actor.gradient_checkpointing=false',
    `exp_ctrl.total_train_epochs=${process.env.GRPO ?? 3}`,
  ],
]);
const after = await accuracy('after', trained('grpo', 'actor'));
console.log(`held-out accuracy: ${before} after SFT, ${after} after GRPO`);
