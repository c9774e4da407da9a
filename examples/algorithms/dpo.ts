/** DPO: the better of two answers, against a frozen reference, on the toy task of task.ts. In this repository: npm run example algorithms/dpo */
import { real, statsOf } from '../toy.js';
import { pairs, reference, report, supervised } from './task.js';

const run = await real('dpo', [
  ...supervised('actor', pairs),
  ...reference,
  'exp_ctrl.total_train_epochs=20',
]);
report('dpo', 'acc', statsOf(run, 'actor_train', 'acc'));
