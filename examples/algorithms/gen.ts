/** Generation: a model learns the toy task of task.ts, then answers. In this repository: npm run example algorithms/gen */
import { readRecords, real, trained } from '../toy.js';
import { answered, supervised } from './task.js';

const taught = await real('sft', [
  ...supervised('model', answered),
  'exp_ctrl.total_train_epochs=40',
]);
const run = await real('gen', [
  `model.path=${trained(taught, 'default')}`,
  ...[`dataset.path=${answered}`, 'dataset.train_bs_n_seqs=16'],
  ...['gen.greedy=true', 'gen.max_new_tokens=4', 'gen.min_new_tokens=4'],
]);
const answers = readRecords(`${run}/output.jsonl`);
const right = answers.filter((a) => a.answer === a.prompt!.repeat(4)).length / answers.length;
console.log(`gen: ${right.toFixed(3)} of the answers are right`);
