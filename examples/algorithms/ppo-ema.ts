/** PPO whose reference follows the actor, on the toy task of task.ts. In this repository: npm run example algorithms/ppo-ema */
import { real, statsOf } from '../toy.js';
import { critic, reference, reinforced, report } from './task.js';

const run = await real('ppo-ema', [
  ...reinforced('ppo.gen', 1),
  ...critic,
  ...reference,
  ...['ppo.ppo_n_minibatches=1', 'ppo.kl_ctl=0.05', 'ref_ema_eta=0.2'],
  'exp_ctrl.total_train_epochs=60',
]);
report('ppo-ema', 'task_reward', statsOf(run, 'actor_train', 'task_reward'));
