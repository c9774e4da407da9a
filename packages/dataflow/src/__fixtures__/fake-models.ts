/** Models of one number each and interfaces that mix their inputs into it, so that any wrong order or lost state shows. */
import {
  createRegistry,
  modelKey,
  modelName,
  SequenceSample,
  type Model,
  type ModelConfig,
  type ModelInterface,
  type Registry,
  type TrainEngine,
} from '@realhf/api';

/** `weight` stands for all parameters. */
export class FakeEngine implements TrainEngine {
  weight: number;
  constructor(weight: number) {
    this.weight = weight;
  }
  get config(): ModelConfig {
    throw new Error('a fake engine has no config');
  }
  private readonly never = () => Promise.reject(new Error('a fake engine computes nothing'));
  logProbs = this.never;
  values = this.never;
  evalBatch = this.never;
  generate = this.never;
  trainBatch = this.never;
}

export function fakeModel(role: string, weight: number): Model & { readonly engine: FakeEngine } {
  return {
    name: modelName(role),
    engine: new FakeEngine(weight),
    tokenizer: {
      vocabSize: 10,
      eosTokenId: 0,
      padTokenId: 0,
      bosTokenId: null,
      encode: () => new Int32Array(),
      decode: () => '',
    },
    version: { epoch: 0, epochStep: 0, globalStep: 0 },
    seed: 1,
  };
}

/** Prompt i has i % 3 + 1 tokens of value i. */
export function prompts(n: number): SequenceSample[] {
  return Array.from({ length: n }, (_, i) => {
    const l = (i % 3) + 1;
    return SequenceSample.fromDefault({
      ids: [`p${i}`],
      seqlens: [l],
      data: { packed_prompts: new Int32Array(l).fill(i) },
    });
  });
}

const weightOf = (model: Model) => (model.engine as FakeEngine).weight;
const mean = (values: Iterable<number>) => {
  const all = [...values];
  return all.reduce((a, b) => a + b, 0) / all.length;
};

export interface FakeInterfaces {
  readonly registry: Registry<(args: Readonly<Record<string, unknown>>) => ModelInterface>;
  /** `actor@0.generate p0 p1` per call, in order. */
  readonly log: string[];
  /** Set to make calls fail. */
  fail?: (model: string, method: string) => Error | undefined;
}

/** `ppo_actor`, `ppo_critic`, `paired_rw` and `sft`. */
export function fakeInterfaces(): FakeInterfaces {
  const log: string[] = [];
  const registry: FakeInterfaces['registry'] = createRegistry('interface');
  const made: FakeInterfaces = { registry, log };
  const note = async (model: Model, method: string, input: SequenceSample) => {
    log.push(`${modelKey(model.name)}.${method} ${input.ids.join(' ')}`);
    await Promise.resolve();
    const error = made.fail?.(modelKey(model.name), method);
    if (error) throw error;
  };
  /** Per item as many f32 as `lens` says, all from the model's weight and the item's tokens. */
  const floats = (model: Model, input: SequenceSample, key: string, short: number) => {
    const lens = input.lengths('packed_input_ids');
    const cu = input.cuSeqlens('packed_input_ids');
    const tokens = input.i32('packed_input_ids');
    const out = lens.flatMap((l, i) =>
      Array.from({ length: short === 0 ? 1 : l - (short - 1) }, (_, t) =>
        Math.fround(weightOf(model) * 0.1 + tokens[cu[i]! + t]!),
      ),
    );
    return SequenceSample.fromDefault({
      ids: input.ids,
      seqlens: lens,
      data: { [key]: Float32Array.from(out) },
    });
  };
  const train = async (model: Model, input: SequenceSample, state: { steps: number }) => {
    await note(model, 'trainStep', input);
    state.steps += 1;
    let x = state.steps * 0.01 + model.version.globalStep * 0.001;
    for (const key of input.keys) x += mean(input.get(key));
    (model.engine as FakeEngine).weight = weightOf(model) * 0.9 + x * 0.1;
    return { loss: x, weight: weightOf(model), n_seqs_sum: input.bs };
  };
  const stateful = (state: { steps: number }) => ({
    state: () => ({ ...state }),
    restore: (s: unknown) => Object.assign(state, s),
  });
  registry.register('ppo_actor', (args) => {
    const state = { steps: 0 };
    return {
      ...stateful(state),
      enableSave: args['enable_save'] !== false,
      async generate(model, input) {
        await note(model, 'generate', input);
        const lens = input.lengths('packed_prompts');
        const cu = input.cuSeqlens('packed_prompts');
        const prompt = input.i32('packed_prompts');
        const full = lens.map((l) => l + 2);
        const ids: number[] = [];
        lens.forEach((l, i) => {
          ids.push(...prompt.subarray(cu[i], cu[i]! + l));
          ids.push(Math.round(weightOf(model) * 100) % 97, model.version.globalStep);
        });
        const n = ids.length;
        return SequenceSample.fromDefault({
          ids: input.ids,
          seqlens: full,
          data: {
            packed_input_ids: Int32Array.from(ids),
            packed_logprobs: new Float32Array(n - lens.length).fill(-weightOf(model)),
            prompt_mask: new Uint8Array(n),
            seq_no_eos_mask: new Uint8Array(lens.length),
            packed_logits_mask: new Uint32Array(n),
          },
        });
      },
      async inference(model, input) {
        await note(model, 'inference', input);
        return floats(model, input, 'packed_ref_logprobs', 2);
      },
      trainStep: (model, input) => train(model, input, state),
    };
  });
  registry.register('ppo_critic', () => {
    const state = { steps: 0 };
    return {
      ...stateful(state),
      async inference(model, input) {
        await note(model, 'inference', input);
        return floats(model, input, 'values', 1);
      },
      trainStep: (model, input) => train(model, input, state),
    };
  });
  registry.register('paired_rw', () => ({
    async inference(model, input) {
      await note(model, 'inference', input);
      return floats(model, input, 'rewards', 0);
    },
  }));
  registry.register('sft', () => {
    const state = { steps: 0 };
    return {
      ...stateful(state),
      trainStep: (model, input) => train(model, input, state),
      async evaluate(model, batches) {
        let n = 0;
        for await (const b of batches) n += b.bs;
        return { weight: weightOf(model), n_seqs_sum: n };
      },
    };
  });
  return made;
}
