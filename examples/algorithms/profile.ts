/** Seconds of each call of an algorithm over a grid of options, on invented data. npm run example algorithms/profile */
import { readRecords, real } from '../toy.js';
import { model } from './task.js';

const run = await real('profile', [
  'sft',
  ...['model.init_from_scratch=true', `model.config=${model}`, 'dataset.max_seqlen=16'],
  'grid=[dataset.train_bs_n_seqs=4|16,allocation.n_mbs=1|2]',
]);
interface Line {
  setup: Record<string, number>;
  stepSeconds: number;
}
const lines = readRecords<Line>(`${run}/setups.jsonl`);
for (const { setup, stepSeconds } of lines)
  console.log(JSON.stringify(setup), `${(1000 * stepSeconds).toFixed(1)} ms a step`);
console.log(`profile: ${lines.length} setups measured`);
