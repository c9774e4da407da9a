/**
 * The options of the policy loss on three answers, without a model: how PPO's clip, DAPO's higher clip, the dual clip, GSPO
 * and Dr. GRPO judge the same log-probs. Prints the loss and what an answer's first token would be pushed by.
 *
 * In this repository: npm run example policy-loss
 */
import { SequenceSample } from '@realhf/api';
import { policyLoss, type PolicyLossOptions } from '@realhf/model';

/** Answers of 2, 4 and 1 tokens behind prompts of one token: log-probs when sampled and now, and advantages. */
const answers = [
  { old: [-2, -1], now: [-1.7, -1], advantage: 1 },
  { old: [-1, -2, -3, -1], now: [-1.1, -2, -2.9, -1], advantage: 0.5 },
  { old: [-4], now: [-2.5], advantage: -1.5 },
];
const lengths = answers.map((a) => [a.old.length]);
const keys = ['old_logp', 'advantages', 'ppo_loss_mask'];
const sample = new SequenceSample({
  ids: ['good', 'long', 'bad'],
  seqlens: {
    packed_input_ids: answers.map((a) => [a.old.length + 1]),
    ...Object.fromEntries(keys.map((k) => [k, lengths])),
  },
  data: {
    packed_input_ids: new Int32Array(10),
    old_logp: Float32Array.from(answers.flatMap((a) => a.old)),
    advantages: Float32Array.from(answers.flatMap((a) => a.old.map(() => a.advantage))),
    ppo_loss_mask: new Uint8Array(7).fill(1),
  },
  dtypes: { packed_input_ids: 'i32', old_logp: 'f32', advantages: 'f32', ppo_loss_mask: 'u8' },
  trailingShapes: Object.fromEntries(['packed_input_ids', ...keys].map((k) => [k, []])),
});

const base: PolicyLossOptions = {
  name: 'example',
  epsClip: 0.2,
  averaging: 'token',
  klCtl: 0,
  temperature: 1,
  logitsMask: false,
  earlyStopImpRatio: null,
  earlyStopKl: null,
};
const variants: Readonly<Record<string, Partial<PolicyLossOptions>>> = {
  PPO: {},
  'DAPO, clip-higher': { epsClipHigher: 0.4 },
  'dual clip': { cClip: 3 },
  'GRPO, by sequence': { averaging: 'sequence' },
  'Dr. GRPO': { averaging: 'constant', lossNorm: 4 },
  GSPO: { averaging: 'sequence', ratioLevel: 'sequence' },
  REINFORCE: { objective: 'reinforce', averaging: 'sum' },
};

const first = [0, 2, 6];
for (const [name, options] of Object.entries(variants)) {
  const loss = policyLoss({ ...base, ...options });
  const { loss: value, dLogProbs = new Float32Array() } = loss.compute({
    sample,
    cuSeqlens: sample.cuSeqlens('packed_input_ids'),
    logProbs: Float32Array.from(answers.flatMap((a) => a.now)),
    entropy: new Float32Array(7),
    totalWeight: loss.weight(sample),
  });
  const pushes = first.map((j) => (-dLogProbs[j]!).toFixed(3).padStart(7)).join(' ');
  console.log(`${name.padEnd(20)} loss ${value.toFixed(4).padStart(8)}   pushes ${pushes}`);
}
