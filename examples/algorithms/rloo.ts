/** RLOO: the baseline of an answer is the mean reward of the others to its prompt, on the toy task of task.ts. In this repository: npm run example algorithms/rloo */
import { real, statsOf } from '../toy.js';
import { reinforced, report } from './task.js';

const run = await real('rloo', [
  ...reinforced('ppo.gen'),
  ...['group_size=4', 'ppo.kl_ctl=0'],
  'exp_ctrl.total_train_epochs=24',
]);
report('rloo', 'task_reward', statsOf(run, 'actor_train', 'task_reward'));
