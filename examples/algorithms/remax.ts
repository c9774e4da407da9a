/** ReMax: the baseline is the reward of the greedy answer, on the toy task of task.ts. In this repository: npm run example algorithms/remax */
import { real, statsOf } from '../toy.js';
import { reinforced, report } from './task.js';

const run = await real('remax', [...reinforced('gen'), 'exp_ctrl.total_train_epochs=60']);
report('remax', 'task_reward', statsOf(run, 'actor_train', 'task_reward'));
