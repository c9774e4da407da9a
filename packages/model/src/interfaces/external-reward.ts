/**
 * A reward that comes from outside: answers go out as texts and tokens, numbers come back, one per sequence. Several
 * sources are added with weights; a trained reward model can be one of them, and without one no model is needed at all.
 */
import {
  ConfigError,
  DataError,
  NumericError,
  SequenceSample,
  type InterfaceCall,
  type Model,
  type ModelInterface,
} from '@realhf/api';

/** What a reward function sees: parallel lists, an entry per answer; the answers to a prompt have its id. */
export interface RewardBatch {
  /** Ids of the prompts in the dataset. */
  readonly ids: readonly string[];
  /** Special tokens left out, as in `completions`. */
  readonly prompts: readonly string[];
  /** All that follows the prompt; in a conversation also what others said. */
  readonly completions: readonly string[];
  readonly promptTokens: readonly (readonly number[])[];
  readonly completionTokens: readonly (readonly number[])[];
  /** The prompt's record in the dataset, with all its fields. */
  readonly records: readonly Readonly<Record<string, unknown>>[];
}

/** One source of rewards. */
export interface RewardSource {
  /** For messages: a file or an address. */
  readonly name: string;
  readonly weight: number;
  /** One number per entry of the batch. Throws RealError. */
  score(batch: RewardBatch): Promise<readonly number[]>;
}

/** Where rewards come from and what they are told. */
export interface ExternalRewardOptions {
  readonly sources: readonly RewardSource[];
  /** Records of these ids, in their order. Throws DataError. */
  readonly records: (ids: readonly string[]) => Promise<RewardBatch['records']>;
  /** The trained model's part: its interface, whose inference gives `rewards`. */
  readonly trained?: { readonly interface: ModelInterface; readonly weight: number };
}

/** Rewards from code or a service in place of a model. */
export class ExternalRewardInterface implements ModelInterface {
  readonly enableSave = false;
  private readonly options: ExternalRewardOptions;

  constructor(options: ExternalRewardOptions) {
    this.options = options;
  }

  /** packed_input_ids and prompt_mask to `rewards`, one per sequence; NumericError names the id and the source. */
  async inference(
    model: Model,
    input: SequenceSample,
    call: InterfaceCall,
  ): Promise<SequenceSample> {
    const { sources, trained, records } = this.options;
    const batch = await rewardBatch(model, input, records);
    const [fromModel, ...scores] = await Promise.all([
      trained && trainedRewards(trained.interface, model, input, call),
      ...sources.map((s) => s.score(batch)),
    ]);
    const rewards = new Float32Array(batch.ids.length);
    fromModel?.forEach((r, i) => (rewards[i] = (trained?.weight ?? 1) * r));
    sources.forEach(({ name, weight }, k) => {
      const got = scores[k]!;
      if (got.length !== rewards.length)
        throw new DataError(
          `reward ${name} returned ${got.length} numbers for ${rewards.length} answers; one per answer is needed`,
        );
      got.forEach((r, i) => {
        if (typeof r !== 'number' || !Number.isFinite(r))
          throw new NumericError(
            `reward ${name} of id '${batch.ids[i]!}' is ${String(r)}; a finite number is needed`,
          );
        rewards[i]! += weight * r;
      });
    });
    return new SequenceSample({
      ids: input.ids,
      seqlens: { rewards: input.seqlens.packed_input_ids!.map((item) => item.map(() => 1)) },
      data: { rewards },
      dtypes: { rewards: 'f32' },
      trailingShapes: { rewards: [] },
    });
  }
}

async function trainedRewards(
  inner: ModelInterface,
  model: Model,
  input: SequenceSample,
  call: InterfaceCall,
): Promise<Float32Array> {
  const out = await inner.inference?.(model, input, call);
  if (!out) throw new ConfigError('the interface of the trained reward model has no inference');
  return out.f32('rewards');
}

/** Cut where prompt_mask first is 0. */
async function rewardBatch(
  { tokenizer }: Model,
  input: SequenceSample,
  recordsOf: ExternalRewardOptions['records'],
): Promise<RewardBatch> {
  const tokens = input.i32('packed_input_ids');
  const mask = input.u8('prompt_mask');
  const cu = input.cuSeqlens('packed_input_ids');
  const of = await recordsOf(input.ids);
  const ids: string[] = [];
  const records: RewardBatch['records'][number][] = [];
  const promptTokens: number[][] = [];
  const completionTokens: number[][] = [];
  let s = 0;
  input.seqlens.packed_input_ids!.forEach((item, i) => {
    for (let k = 0; k < item.length; k++, s++) {
      let cut = cu[s]!;
      while (cut < cu[s + 1]! && mask[cut]) cut++;
      ids.push(input.ids[i]!);
      records.push(of[i] ?? {});
      promptTokens.push([...tokens.subarray(cu[s], cut)]);
      completionTokens.push([...tokens.subarray(cut, cu[s + 1])]);
    }
  });
  const text = (all: readonly number[][]) => all.map((t) => tokenizer.decode(t));
  return {
    ids,
    prompts: text(promptTokens),
    completions: text(completionTokens),
    promptTokens,
    completionTokens,
    records,
  };
}
