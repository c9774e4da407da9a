/**
 * Every loss of every algorithm, and every number that it reads: one NaN ends the step with the call, the key and the id of
 * the sample. A row of the embedding is NaN, so a token spoils one sample's log-probs and no other's.
 */
import {
  modelName,
  SequenceSample,
  type HostArray,
  type SampleDType,
  type MFCDef,
  type Model,
  type Tokenizer,
} from '@realhf/api';
import { AdamEngine } from '@realhf/backends';
import {
  buildGraph,
  expControlSchema,
  IndexedDataSource,
  InProcessStream,
  Master,
  ModelWorker,
} from '@realhf/dataflow';
import { expect, test } from 'vitest';

import { algorithmGraph } from '../plan/algorithm.js';
import { algorithmNames } from '../plan/options.js';
import { registerAllInterfaces } from '../user-code/interfaces.js';
import { adamConfig, llama, makeModel, randomParams, useOps } from './harness.js';

const ops = useOps();
registerAllInterfaces();
const spoilt = 100;
/** Tokens of a sequence, of them of its prompt. */
const [length, prompt] = [7, 3];

/** How many sequences an item has. */
const sequencesOf = (type: string) =>
  ['grpo', 'rloo', 'raft', 'paired_rw', 'dpo', 'simpo'].includes(type) ? 2 : 1;

/** Of an item: numbers per sequence, or per item. */
const kinds: Readonly<Record<string, { n: number; dtype: SampleDType; item?: boolean }>> = {
  packed_input_ids: { n: length, dtype: 'i32' },
  prompt_mask: { n: length, dtype: 'u8' },
  packed_logprobs: { n: length - 1, dtype: 'f32' },
  packed_ref_logprobs: { n: length - 1, dtype: 'f32' },
  rewards: { n: 1, dtype: 'f32' },
  greedy_rewards: { n: 1, dtype: 'f32' },
  values: { n: length, dtype: 'f32' },
  seqlogp: { n: 1, dtype: 'f32' },
  seq_no_eos_mask: { n: 1, dtype: 'u8' },
  prompt_lens: { n: 1, dtype: 'i32', item: true },
};

function dataOf(key: string, sequences: number, item: number): HostArray {
  const each = (n: number, f: (t: number, s: number) => number) =>
    Array.from({ length: n * sequences }, (_, i) => f(i % n, Math.floor(i / n)));
  switch (key) {
    case 'packed_input_ids':
      return Int32Array.from(each(length, (t, s) => 2 + ((7 * item + 3 * s + 5 * t) % 90)));
    case 'prompt_mask':
      return Uint8Array.from(each(length, (t) => (t < prompt ? 1 : 0)));
    case 'seq_no_eos_mask':
      return new Uint8Array(sequences);
    case 'prompt_lens':
      return Int32Array.of(prompt);
    case 'rewards':
      // The first is the better one: RAFT learns from it.
      return Float32Array.from(each(1, (_, s) => 1 - s));
    default:
      return Float32Array.from(each(kinds[key]!.n, (t) => -4 - t / 10));
  }
}

/** Item number `item` with the keys of a call; of item 2 one number is spoilt: of `bad`, or a token where there is none. */
function itemOf(mfc: MFCDef, item: number, bad: string | undefined): SequenceSample {
  const sequences = sequencesOf(mfc.interfaceImpl.type_);
  const data = Object.fromEntries(mfc.inputKeys.map((k) => [k, dataOf(k, sequences, item)]));
  if (item === 2) data[bad ?? 'packed_input_ids']![bad === undefined ? 4 : 0] = bad ? NaN : spoilt;
  if (item === 2 && bad?.includes('logprobs')) data[bad]!.fill(NaN);
  return new SequenceSample({
    ids: [`p${item}`],
    seqlens: Object.fromEntries(
      mfc.inputKeys.map((k) => {
        const { n, item: once } = kinds[k]!;
        return [k, [Array<number>(once ? 1 : sequences).fill(n)]];
      }),
    ),
    data,
    dtypes: Object.fromEntries(mfc.inputKeys.map((k) => [k, kinds[k]!.dtype])),
    trailingShapes: Object.fromEntries(mfc.inputKeys.map((k) => [k, []])),
  });
}

const tokenizer: Tokenizer = {
  ...{ vocabSize: 128, eosTokenId: 1, padTokenId: 0, bosTokenId: null },
  encode: () => new Int32Array(),
  decode: () => '',
};

/** The message with which one step of a call ends. */
async function failure(mfc: MFCDef, bad: string | undefined): Promise<string> {
  const isCritic = ['ppo_critic', 'paired_rw'].includes(mfc.interfaceImpl.type_);
  const config = llama({ isCritic, nLayers: 1 });
  const params = randomParams(config, ops());
  const embedding = params.get('0.wte.weight')!;
  embedding.fill(NaN, spoilt * config.hiddenDim, (spoilt + 1) * config.hiddenDim);
  const network = makeModel(ops(), config, { params });
  const engine = new AdamEngine(network, { optimizer: adamConfig(), totalSteps: 2 });
  const model: Model = {
    name: modelName(mfc.model.role),
    engine,
    tokenizer,
    version: { epoch: 0, epochStep: 0, globalStep: 0 },
    seed: 1,
  };
  const data = new IndexedDataSource(4, (i) => itemOf(mfc, i, bad), { seed: 1 });
  const one = { ...mfc, preHooks: [], postHooks: [] };
  const master = new Master({
    graph: buildGraph([one], { datasetKeys: mfc.inputKeys }),
    stream: new InProcessStream({ worker: new ModelWorker({ models: [model], data }) }),
    control: expControlSchema.parse({}),
  });
  try {
    await master.run().next();
    return 'no failure';
  } catch (e) {
    return (e as Error).message;
  } finally {
    engine.free();
    network.free();
  }
}

const rows = algorithmNames
  .filter((name) => name !== 'gen' && name !== 'ppo-ema')
  .flatMap((name) =>
    algorithmGraph(name, 4)
      .mfcs.filter((m) => m.interfaceType === 'train_step')
      .flatMap((mfc) =>
        [undefined, ...mfc.inputKeys.filter((k) => kinds[k]!.dtype === 'f32')].map(
          (bad) => [name, mfc.name, bad ?? 'the model', mfc, bad] as const,
        ),
      ),
  );

test.each(rows)('%s, %s: NaN in %s', async (_name, call, _what, mfc, bad) => {
  const message = await failure(mfc, bad);
  expect(message).toMatch(new RegExp(`^MFC '${call}' \\(train_step .*failed at step 0`));
  expect(message).toMatch(bad === undefined ? /(log-probs|values)/ : `'${bad}'`);
  expect(message).toMatch(/id 'p2'/);
});
