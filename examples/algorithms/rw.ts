/** A reward model from pairs of answers, on the toy task of task.ts. In this repository: npm run example algorithms/rw */
import { real, statsOf } from '../toy.js';
import { pairs, report, supervised } from './task.js';

const run = await real('rw', [...supervised('model', pairs), 'exp_ctrl.total_train_epochs=20']);
report('rw', 'acc', statsOf(run, 'rwTrain', 'acc'));
