/** GRPO: answers are judged against the others to their prompt, on the toy task of task.ts. In this repository: npm run example algorithms/grpo */
import { real, statsOf } from '../toy.js';
import { reinforced, report } from './task.js';

const run = await real('grpo', [
  ...reinforced('ppo.gen'),
  ...['group_size=4', 'ppo.kl_ctl=0', 'ppo.ppo_n_minibatches=1'],
  'exp_ctrl.total_train_epochs=24',
]);
report('grpo', 'task_reward', statsOf(run, 'actor_train', 'task_reward'));
