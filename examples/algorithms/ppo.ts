/** PPO with a critic and a reference, on the toy task of task.ts. In this repository: npm run example algorithms/ppo */
import { real, statsOf } from '../toy.js';
import { critic, reference, reinforced, report } from './task.js';

const run = await real('ppo', [
  ...reinforced('ppo.gen', 1),
  ...critic,
  ...reference,
  ...['ppo.ppo_n_minibatches=1', 'ppo.kl_ctl=0.01'],
  'exp_ctrl.total_train_epochs=60',
]);
report('ppo', 'task_reward', statsOf(run, 'actor_train', 'task_reward'));
