/**
 * The toy task of these examples: an answer of four letters should repeat the letter of its prompt. Where an algorithm
 * wants rewards, reward.ts counts the letters that do: an untrained model has 1 in 10 right.
 */
import { mean, writeCharacterModel, writeRecords } from '../toy.js';

const letters = 'abcdefgh';
const prompts = Array.from({ length: 64 }, (_, i) => letters[i % letters.length]!);

export const model = writeCharacterModel(letters);
const scratch = (role: string) => [`${role}.init_from_scratch=true`, `${role}.config=${model}`];

/** `prompt` and the right `answer`. */
export const answered = writeRecords(
  'answered',
  prompts.map((prompt) => ({ prompt, answer: prompt.repeat(4) })),
);
/** A right answer and one of another letter. */
export const pairs = writeRecords(
  'pairs',
  prompts.map((prompt, i) => ({
    prompt,
    pos_answers: [prompt.repeat(4)],
    neg_answers: [letters[(i + 1 + ((i >> 3) % 7)) % letters.length]!.repeat(4)],
  })),
);

/** Options of an untrained model that learns from records at `path`, in batches of 16. */
export function supervised(role: string, path: string): string[] {
  return [
    ...scratch(role),
    `${role}.optimizer.lr=0.005`,
    ...[`dataset.train_path=${path}`, 'dataset.train_bs_n_seqs=16', 'dataset.max_seqlen=8'],
  ];
}

/**
 * Options of an untrained policy that learns from rewards; `gen`: where its command keeps those of generation. With
 * `shortest` 1, for PPO, in which answers without an end have no reward, the policy ends them itself.
 */
export function reinforced(gen: string, shortest = 4): string[] {
  return [
    ...scratch('actor'),
    ...['actor.optimizer.lr=0.01', 'reward.fn=examples/algorithms/reward.ts'],
    ...[
      `dataset.path=${writeRecords(
        'prompts',
        prompts.map((prompt) => ({ prompt })),
      )}`,
    ],
    ...['dataset.train_bs_n_seqs=64', 'dataset.max_prompt_len=2'],
    ...[
      `${gen}.max_new_tokens=${shortest === 4 ? 4 : 6}`,
      `${gen}.min_new_tokens=${shortest}`,
      `${gen}.top_p=1`,
    ],
  ];
}
/** Options of an untrained critic. */
export const critic = [...scratch('critic'), 'critic.optimizer.lr=0.01'];
/** Options of a reference that begins as the actor. */
export const reference = scratch('ref');

/** Prints a stat at the start and at the end of a run: means of four steps. */
export function report(name: string, stat: string, values: readonly number[]): void {
  const [first, last] = [mean(values.slice(0, 4)), mean(values.slice(-4))];
  console.log(`${name}: ${stat} ${first.toFixed(3)} at first, ${last.toFixed(3)} at last`);
}
