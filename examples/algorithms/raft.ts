/** RAFT: supervised training on the best of several answers, on the toy task of task.ts. In this repository: npm run example algorithms/raft */
import { real, statsOf } from '../toy.js';
import { reinforced, report } from './task.js';

const run = await real('raft', [
  ...reinforced('gen'),
  ...['group_size=4', 'exp_ctrl.total_train_epochs=24'],
]);
report('raft', 'task_reward', statsOf(run, 'actor_train', 'task_reward'));
