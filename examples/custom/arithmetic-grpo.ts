/**
 * Verifiable rewards: sums of three digits, 3+5+7=15. A tiny model first learns from a teacher who forgets the carry as
 * often as not (05), so it is right on few problems with a carry; GRPO with an exact-match reward in TypeScript
 * (arithmetic-reward.ts) then teaches it to carry. Accuracy is measured on problems that it saw in neither.
 *
 * In this repository: npm run example custom/arithmetic-grpo (a minute or two on two cores)
 */
import { readRecords, real, shuffled, trained, writeCharacterModel, writeRecords } from '../toy.js';

const problems = shuffled(
  Array.from({ length: 1000 }, (_, i) => {
    const digits = Array.from(String(i).padStart(3, '0'));
    const sum = digits.reduce((a, b) => a + Number(b), 0);
    return { prompt: `${digits.join('+')}=`, best: String(sum).padStart(2, '0') };
  }),
);
const model = writeCharacterModel('0123456789+=');
const sft = writeRecords(
  'sft',
  problems.slice(0, 500).map(({ prompt, best }, i) => {
    const forgets = (i * 7) % 20 < 11;
    return { prompt, answer: forgets ? `0${best[1]!}` : best };
  }),
);
const practice = writeRecords('practice', problems.slice(500, 750));
const heldOut = writeRecords('held-out', problems.slice(750));

/** Share of held-out problems that a model answers right, greedily. */
async function accuracy(name: string, path: string): Promise<number> {
  const run = await real(
    'gen',
    [
      ...[`model.path=${path}`, `dataset.path=${heldOut}`, 'dataset.train_bs_n_seqs=250'],
      ...['gen.greedy=true', 'gen.max_new_tokens=3', 'gen.min_new_tokens=1'],
    ],
    name,
  );
  const best = new Map(readRecords(heldOut).map((p) => [p.prompt, p.best]));
  const answers = readRecords(`${run}/output.jsonl`);
  return answers.filter((a) => a.answer === best.get(a.prompt)).length / answers.length;
}

const taught = await real('sft', [
  ...['model.init_from_scratch=true', `model.config=${model}`, 'model.optimizer.lr=0.008'],
  ...[`dataset.train_path=${sft}`, 'dataset.train_bs_n_seqs=50'],
  'exp_ctrl.total_train_epochs=36',
]);
const start = trained(taught, 'default');
const before = await accuracy('before', start);
const practised = await real('grpo', [
  ...[`actor.path=${start}`, 'actor.optimizer.lr=0.001', 'ppo.kl_ctl=0', 'group_size=8'],
  ...['reward.fn=examples/custom/arithmetic-reward.ts', 'ppo.ppo_n_minibatches=1'],
  ...[`dataset.path=${practice}`, 'dataset.train_bs_n_seqs=50', 'exp_ctrl.total_train_epochs=6'],
  ...['ppo.gen.max_new_tokens=3', 'ppo.gen.min_new_tokens=1', 'ppo.gen.top_p=1'],
]);
const after = await accuracy('after', trained(practised, 'actor'));
console.log(`held-out accuracy: ${before.toFixed(3)} after SFT, ${after.toFixed(3)} after GRPO`);
