/**
 * Conversations with an environment, around any interface that generates (grpo, ppo_actor): a turn is generated, the
 * environment answers, its answer's tokens are appended, and so on. Tokens are never decoded and encoded again: what was
 * sampled stays, and what the environment said counts as prompt (prompt_mask 1), so no loss or KL ever sees it.
 */
import {
  SequenceSample,
  type Engine,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type InterfaceCall,
  type Model,
  type ModelInterface,
  type Stats,
} from '@realhf/api';

import { allKept, joinKept } from '../generation/kept-sets.js';

/** An environment's answer to a turn. */
export interface EnvironmentStep {
  /** For the next step. */
  readonly state: unknown;
  /** What the model reads before its next turn; ignored where `done`. */
  readonly observation: string;
  readonly done: boolean;
}

/** Whatever talks back: a tool, a game, a simulated user. */
export interface Environment {
  /** A conversation per prompt; states by conversation. */
  reset(ids: readonly string[], prompts: readonly string[]): Promise<readonly unknown[]>;
  /** One turn of the conversations that go on. */
  step(
    turns: readonly { readonly id: string; readonly state: unknown; readonly text: string }[],
    turn: number,
  ): Promise<readonly EnvironmentStep[]>;
}

/** An environment and how long a conversation with it may get. */
export interface EnvironmentOptions {
  readonly environment: Environment;
  readonly maxTurns: number;
  /** An observation is cut after so many tokens. */
  readonly maxObservationTokens: number;
}

/** What was added to a prompt, in pieces: turns and observations by turns. */
interface Conversation {
  readonly tokens: Int32Array[];
  readonly logProbs: Float32Array[];
  readonly masks: Uint8Array[];
  /** 1 where the environment spoke. */
  readonly observed: Uint8Array[];
  noEos: boolean;
  state: unknown;
}

/** Generates with an inner interface, in turns with an environment. */
export class EnvironmentInterface implements ModelInterface {
  readonly enableSave: boolean;
  private readonly inner: ModelInterface;
  private readonly options: EnvironmentOptions;

  constructor(inner: ModelInterface, options: EnvironmentOptions) {
    this.inner = inner;
    this.options = options;
    this.enableSave = inner.enableSave ?? true;
  }

  /** The inner interface's keys; `prompt_mask` is 1 on prompts and observations. gen.max_new_tokens is of a turn. */
  async generate(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const talks: Conversation[] = [];
    const engine = Object.create(model.engine, {
      generate: {
        value: async (
          prompts: SequenceSample,
          gen: GenerationHyperparameters,
          options: GenerateOptions,
        ) => {
          // An item may be answered several times, one after another.
          const times = prompts.bs / input.bs;
          const ids = prompts.ids.map((_, s) => input.ids[Math.floor(s / times)]!);
          talks.push(...(await this.converse(model, ids, prompts, gen, options)));
          return outputOf(talks);
        },
      },
    }) as Engine;
    const out = await this.inner.generate!({ ...model, engine }, input, call);
    const mask = out.u8('prompt_mask');
    const cu = out.cuSeqlens('prompt_mask');
    talks.forEach(({ observed }, s) => {
      const said = joinBytes(observed);
      const begin = cu[s + 1]! - said.length;
      said.forEach((o, t) => {
        if (o) mask[begin + t] = 1;
      });
    });
    return out;
  }

  inference(model: Model, input: SequenceSample, call: InterfaceCall): Promise<SequenceSample> {
    return this.inner.inference!(model, input, call);
  }
  trainStep(model: Model, input: SequenceSample, call: InterfaceCall): Promise<Stats> {
    return this.inner.trainStep!(model, input, call);
  }
  state(): unknown {
    return this.inner.state?.() ?? null;
  }
  restore(state: unknown): void {
    this.inner.restore?.(state);
  }

  private async converse(
    { engine, tokenizer }: Model,
    ids: readonly string[],
    prompts: SequenceSample,
    gen: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<Conversation[]> {
    const { environment, maxTurns, maxObservationTokens } = this.options;
    const cu = prompts.cuSeqlens('packed_prompts');
    const starts = prompts.ids.map((_, s) =>
      prompts.i32('packed_prompts').subarray(cu[s], cu[s + 1]),
    );
    const states = await environment.reset(
      ids,
      starts.map((t) => tokenizer.decode(t)),
    );
    const talks = states.map((state): Conversation => ({
      ...{ tokens: [], logProbs: [], masks: [], observed: [], noEos: false },
      state,
    }));
    let open = talks.map((_, s) => s);
    for (let turn = 0; turn < maxTurns && open.length > 0; turn++) {
      const read = open.map((s) =>
        Int32Array.from([starts[s]!, ...talks[s]!.tokens].flatMap((t) => [...t])),
      );
      const sample = SequenceSample.fromDefault({
        ids: open.map((s) => prompts.ids[s]!),
        seqlens: read.map((t) => t.length),
        data: { packed_prompts: Int32Array.from(read.flatMap((t) => [...t])) },
      });
      // Another seed each turn: draws depend on it and the id alone.
      const seed = (options.seed + Math.imul(turn, 0x85ebca6b)) | 0;
      const out = await engine.generate(sample, gen, { ...options, seed });
      open.forEach((s, i) => {
        const sampled = out.tokens[i]!;
        append(talks[s]!, sampled, out.logProbs[i]!, out.masks?.[i], 0);
        talks[s]!.noEos = out.noEos[i]!;
      });
      const steps = await environment.step(
        open.map((s, i) => ({
          id: ids[s]!,
          state: talks[s]!.state,
          text: tokenizer.decode(out.tokens[i]!),
        })),
        turn,
      );
      const last = turn + 1 === maxTurns;
      open = open.filter((s, i) => {
        const { state, observation, done } = steps[i]!;
        if (done || last) return false;
        const talk = talks[s]!;
        talk.state = state;
        const said = tokenizer.encode(observation).slice(0, maxObservationTokens);
        append(talk, said, new Float32Array(said.length), undefined, 1);
        return true;
      });
    }
    return talks;
  }
}

function append(
  talk: Conversation,
  tokens: Int32Array,
  logProbs: Float32Array,
  mask: Uint8Array | undefined,
  observed: 0 | 1,
): void {
  talk.tokens.push(tokens);
  talk.logProbs.push(logProbs);
  talk.masks.push(mask ?? joinKept(Array<Uint8Array>(tokens.length).fill(allKept)));
  talk.observed.push(new Uint8Array(tokens.length).fill(observed));
}

function outputOf(talks: readonly Conversation[]): GenerateOutput {
  return {
    tokens: talks.map((t) => Int32Array.from(t.tokens.flatMap((part) => [...part]))),
    logProbs: talks.map((t) => Float32Array.from(t.logProbs.flatMap((part) => [...part]))),
    masks: talks.map((t) => joinKept(t.masks)),
    noEos: talks.map((t) => t.noEos),
  };
}

const joinBytes = (parts: readonly Uint8Array[]) =>
  Uint8Array.from(parts.flatMap((part) => [...part]));
