/** SimPO: the better of two answers, without a reference, on the toy task of task.ts. In this repository: npm run example algorithms/simpo */
import { real, statsOf } from '../toy.js';
import { pairs, report, supervised } from './task.js';

const run = await real('simpo', [...supervised('actor', pairs), 'exp_ctrl.total_train_epochs=20']);
report('simpo', 'acc', statsOf(run, 'actor_train', 'acc'));
