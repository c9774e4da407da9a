/** Log-probs of 2,048 rows of a small vocabulary, and the gradient in place. */
import type { Bench } from '../../testing/bench.js';
import { upload } from '../../testing/device-data.js';
import { normal, random } from '../../testing/numbers.js';
import type { Recorder } from '../../webgpu/recorder.js';
import { logProbs, logProbsBackward } from './logprobs.js';

const [rows, vocab] = [2048, 1024];

function inputs(r: Recorder) {
  const rand = random(1);
  const perRow = () => upload(r, normal(rows, rand));
  return {
    logits: upload(r, normal(rows * vocab, rand, 2), [rows, vocab]),
    labels: upload(
      r,
      Int32Array.from({ length: rows }, () => Math.floor(rand() * vocab)),
      [rows],
      'i32',
    ),
    temperature: 1,
    logProbs: perRow(),
    lse: perRow(),
    entropy: perRow(),
    dLogProbs: perRow(),
    dEntropy: perRow(),
  };
}

export const benches: Bench[] = [
  {
    name: `log-probs ${rows}×${vocab}`,
    bytes: 4 * rows * vocab,
    setup: (r) => {
      const a = inputs(r);
      return () => {
        logProbs(r, a);
      };
    },
  },
  {
    name: `log-probs backward ${rows}×${vocab}`,
    bytes: 8 * rows * vocab,
    setup: (r) => {
      const a = inputs(r);
      const dLogits = r.alloc([rows, vocab]);
      logProbs(r, a);
      return () => {
        logProbsBackward(r, { ...a, dLogits });
      };
    },
  },
];
