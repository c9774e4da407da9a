/** SFT: the right answers, token by token, on the toy task of task.ts. In this repository: npm run example algorithms/sft */
import { real, statsOf } from '../toy.js';
import { answered, report, supervised } from './task.js';

const run = await real('sft', [...supervised('model', answered), 'exp_ctrl.total_train_epochs=40']);
report('sft', 'loss', statsOf(run, 'trainDefault', 'loss'));
