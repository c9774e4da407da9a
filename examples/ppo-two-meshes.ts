/**
 * PPO with a device mesh and a layout for each call: the actor generates on four devices, each with a part of the
 * prompts, and trains on two of them, which share its layers, while the critic works on the other two. Before each
 * generation the actor's parameters move from the layout that trains to the one that generates, and after it they are
 * let go. Every device has a worker process; without GPUs they are software adapters, and the models are tiny.
 *
 * In this repository: npm run example ppo-two-meshes
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import process from 'node:process';

import { commands, runCli, workerMain } from '@realhf/cli';

const cli = dirname(createRequire(import.meta.url).resolve('@realhf/cli/package.json'));
const assets = join(cli, 'assets/quickstart');

/** A model of 32 units with the quickstart's tokenizer, to be filled with random weights. */
function writeModel(dir: string): string {
  mkdirSync(dir, { recursive: true });
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(assets, file), join(dir, file));
  const config = {
    model_type: 'llama',
    hidden_size: 32,
    intermediate_size: 48,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    max_position_embeddings: 64,
    vocab_size: 2304,
    rms_norm_eps: 1e-5,
  };
  writeFileSync(join(dir, 'config.json'), JSON.stringify(config));
  return dir;
}

/** The command line of the run; `real ppo` takes the same words. */
function options(dir: string): string[] {
  const model = writeModel(join(dir, 'model'));
  return [
    'ppo',
    'experiment_name=two-meshes',
    'trial_name=example',
    `fileroot=${join(dir, 'runs')}`,
    ...['actor', 'critic', 'ref', 'rew'].flatMap((role) => [
      `${role}.init_from_scratch=true`,
      `${role}.config=${model}`,
    ]),
    `dataset.path=${join(assets, 'prompts-heldout.jsonl')}`,
    'dataset.train_bs_n_seqs=4',
    'dataset.max_prompt_len=16',
    'ppo.gen.max_new_tokens=8',
    'ppo.gen.min_new_tokens=1',
    'exp_ctrl.benchmark_steps=2',
    // Four devices of one node: each call gets its own.
    'n_gpus_per_node=4',
    'allocation_mode=manual',
    'actor_gen.parallel.data_parallel_size=4',
    'actor_train.device_mesh=NODE01:0,1',
    'actor_train.parallel.model_parallel_size=2',
    'ref_inf.device_mesh=NODE01:0,1',
    'ref_inf.parallel.data_parallel_size=2',
    ...['critic_inf', 'critic_train', 'rew_inf'].flatMap((call) => [
      `${call}.device_mesh=NODE01:2,3`,
      `${call}.parallel.model_parallel_size=2`,
    ]),
  ];
}

// Workers are this program again, with other arguments.
const program = process.argv.slice(1);
const worker = program.indexOf('worker');
if (worker >= 0) await workerMain(program.slice(worker + 1));

const dir = mkdtempSync(join(tmpdir(), 'two-meshes-'));
process.exitCode = await runCli(commands, options(dir), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  signal: new AbortController().signal,
  version: '',
  entry: program,
});
if (process.exitCode === 0) {
  const run = join(dir, 'runs/two-meshes/example');
  const { traceEvents } = JSON.parse(readFileSync(join(run, 'trace.json'), 'utf8')) as {
    traceEvents: { name: string }[];
  };
  const moves = traceEvents.filter((e) => e.name.startsWith('realloc'));
  console.log(`${moves.length} ends of reallocations; ${run}/trace.json opens in ui.perfetto.dev`);
}
