import {
  SequenceSample,
  type Engine,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type Model,
  type Tokenizer,
} from '@realhf/api';
import { expect, it } from 'vitest';

import { answerMask } from '../losses/masks.js';
import { EnvironmentInterface, type Environment } from './environment.js';
import { GrpoInterface } from './grpo.js';

const tokenizer: Tokenizer = {
  vocabSize: 128,
  eosTokenId: 0,
  padTokenId: null,
  bosTokenId: null,
  encode: (text) => Int32Array.from(text, (c) => c.charCodeAt(0)),
  decode: (tokens) => String.fromCharCode(...tokens),
};
const text = (tokens: Iterable<number>) => tokenizer.decode(tokens);

/** Says its turn's number and writes down what it read; log-probs tell tokens apart. */
class Speaker {
  readonly read: string[][] = [];
  readonly seeds: number[] = [];
  readonly config = { vocabSize: 128 };
  generate(
    input: SequenceSample,
    _: GenerationHyperparameters,
    { seed }: GenerateOptions,
  ): Promise<GenerateOutput> {
    const cu = input.cuSeqlens('packed_prompts');
    const all = input.i32('packed_prompts');
    this.read.push(input.ids.map((_, s) => text(all.subarray(cu[s], cu[s + 1]))));
    this.seeds.push(seed);
    const said = `t${this.read.length}`;
    return Promise.resolve({
      tokens: input.ids.map(() => tokenizer.encode(said)),
      logProbs: input.ids.map(() => Float32Array.of(-1, -2)),
      noEos: input.ids.map(() => false),
    });
  }
}

/** Ends the conversations of `b` after a turn. */
const environment: Environment = {
  reset: (_, prompts) => Promise.resolve(prompts.map((p) => [p])),
  step: (turns, turn) =>
    Promise.resolve(
      turns.map(({ id, state, text }) => ({
        state: [...(state as string[]), text],
        observation: `(${(state as string[]).length})`,
        done: id === 'b' && turn === 0,
      })),
    ),
};

it('appends turns and observations, and masks what was not sampled', async () => {
  const engine = new Speaker();
  const model: Model = {
    name: { role: 'actor', replicaId: 0 },
    engine: engine as unknown as Engine,
    tokenizer,
    version: { epoch: 0, epochStep: 0, globalStep: 0 },
    seed: 1,
  };
  const inner = new GrpoInterface({ group_size: 2, gen: { min_new_tokens: 1 } });
  const talk = new EnvironmentInterface(inner, {
    environment,
    maxTurns: 3,
    maxObservationTokens: 2,
  });
  const input = SequenceSample.fromDefault({
    ids: ['a', 'b'],
    seqlens: [2, 1],
    data: { packed_prompts: tokenizer.encode('pqr') },
  });
  const out = await talk.generate(model, input, {});
  // An observation is cut after two tokens; no token is read differently the second time.
  expect(engine.read).toEqual([
    ['pq', 'pq', 'r', 'r'],
    ['pqt1(1', 'pqt1(1'],
    ['pqt1(1t2(2', 'pqt1(1t2(2'],
  ]);
  expect(new Set(engine.seeds).size).toBe(3);
  expect(out.seqlens.packed_input_ids).toEqual([
    [12, 12],
    [3, 3],
  ]);
  const cu = out.cuSeqlens('packed_input_ids');
  const ids = out.i32('packed_input_ids');
  const mask = out.u8('prompt_mask');
  expect(text(ids.subarray(0, cu[1]))).toBe('pqt1(1t2(2t3');
  expect([...mask.subarray(0, cu[1])]).toEqual([1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0]);
  expect([...mask.subarray(cu[2], cu[3])]).toEqual([1, 0, 0]);
  // Log-probs are where tokens were sampled, and nowhere else.
  const sampled = answerMask(out);
  const logp = out.f32('packed_logprobs');
  logp.forEach((p, j) => {
    expect(p !== 0, String(j)).toBe(sampled[j] === 1);
  });
  expect([...out.u8('seq_no_eos_mask')]).toEqual([0, 0, 0, 0]);
});
