/**
 * Several turns with a tool: 48+37? is answered by a number, or by asking the calculator (calculator-env.ts), 48+37=, and
 * then saying what it said. A tiny model learns both from examples, in which a number said at once is a guess; GRPO
 * teaches it to ask. Every problem is met once, so the rewards are of problems never seen before.
 *
 * In this repository: npm run example custom/calculator-grpo
 */
import {
  mean,
  real,
  shuffled,
  statsOf,
  trained,
  writeCharacterModel,
  writeRecords,
} from '../toy.js';

const problems = shuffled(
  Array.from({ length: 1600 }, (_, i) => {
    const [a, b] = [10 + (i % 40), 10 + Math.floor(i / 40)];
    return { sum: `${a}+${b}`, best: String(a + b) };
  }),
);
const examples = problems.slice(0, 240).flatMap(({ sum, best }, i) => {
  const guess = String(20 + ((i * 31) % 79));
  return [
    { prompt: `${sum}?`, answer: i % 3 === 0 ? `${sum}=` : guess },
    { prompt: `${sum}?${sum}=<|end|>${best}`, answer: best },
  ];
});
const model = writeCharacterModel('0123456789+=?');
const taught = await real('sft', [
  ...['model.init_from_scratch=true', `model.config=${model}`, 'model.optimizer.lr=0.008'],
  ...[`dataset.train_path=${writeRecords('sft', examples)}`, 'dataset.train_bs_n_seqs=40'],
  'exp_ctrl.total_train_epochs=30',
]);
const practice = problems.slice(240, 1200).map(({ sum, best }) => ({ prompt: `${sum}?`, best }));
const practised = await real('grpo', [
  ...[`actor.path=${trained(taught, 'default')}`, 'actor.optimizer.lr=0.002', 'ppo.kl_ctl=0'],
  ...['group_size=8', 'ppo.ppo_n_minibatches=1', 'ppo.gen.top_p=1'],
  ...['ppo.gen.max_new_tokens=8', 'ppo.gen.min_new_tokens=1'],
  ...[
    'env.fn=examples/custom/calculator-env.ts',
    'env.max_turns=2',
    'env.max_observation_tokens=3',
  ],
  'reward.fn=examples/custom/calculator-reward.ts',
  ...[`dataset.path=${writeRecords('practice', practice)}`, 'dataset.train_bs_n_seqs=40'],
]);
const right = statsOf(practised, 'actor_train', 'task_reward');
const [first, last] = [mean(right.slice(0, 2)), mean(right.slice(-4))];
console.log(`right answers: ${first.toFixed(3)} after SFT, ${last.toFixed(3)} after GRPO`);
