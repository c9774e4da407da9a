/** An engine that computes nothing: it writes down its calls and answers from functions of the input. */
import {
  modelName,
  type CallOptions,
  type Engine,
  type GenerateOptions,
  type GenerateOutput,
  type GenerationHyperparameters,
  type Loss,
  type Model,
  type ModelConfig,
  type SequenceSample,
  type Stats,
  type TrainEngine,
  type TrainOptions,
} from '@realhf/api';

export interface Call {
  readonly method: 'logProbs' | 'values' | 'evalBatch' | 'generate' | 'trainBatch';
  readonly input: SequenceSample;
  readonly loss?: Loss;
  readonly options: Readonly<Record<string, unknown>>;
}

export interface Answers {
  readonly logProbs?: (input: SequenceSample) => Float32Array;
  readonly values?: (input: SequenceSample) => Float32Array;
  readonly generate?: (input: SequenceSample) => GenerateOutput;
  /** Of the n-th trainBatch or evalBatch. */
  readonly stats?: (n: number, input: SequenceSample) => Stats;
}

export const vocabSize = 40;
const config: ModelConfig = {
  family: 'llama',
  nLayers: 1,
  nHeads: 1,
  nKvHeads: 1,
  headDim: 8,
  hiddenDim: 8,
  intermediateDim: 8,
  vocabSize,
  maxPositions: 64,
  norm: 'rms',
  normEps: 1e-5,
  mlp: 'gated',
  activation: 'silu',
  qkNorm: false,
  qkvBias: false,
  projBias: false,
  mlpBias: false,
  tiedEmbedding: false,
  embeddingScale: 1,
  attentionScale: 1,
  scaleAttentionByInverseLayer: false,
  embdDropout: 0,
  residDropout: 0,
  attnDropout: 0,
  initStd: 0.02,
  isCritic: false,
  bosTokenId: null,
  eosTokenId: 0,
  padTokenId: 1,
};

/** Inference only; `ScriptedTrainEngine` trains too. */
export class ScriptedEngine implements Engine {
  readonly config = config;
  readonly calls: Call[] = [];
  protected readonly answers: Answers;
  constructor(answers: Answers = {}) {
    this.answers = answers;
  }
  protected note(call: Call): number {
    return this.calls.push(call) - 1;
  }
  logProbs(input: SequenceSample, options: CallOptions = {}): Promise<Float32Array> {
    this.note({ method: 'logProbs', input, options: { ...options } });
    return Promise.resolve(this.answers.logProbs!(input));
  }
  values(input: SequenceSample, options: CallOptions = {}): Promise<Float32Array> {
    this.note({ method: 'values', input, options: { ...options } });
    return Promise.resolve(this.answers.values!(input));
  }
  evalBatch(input: SequenceSample, loss: Loss, options: CallOptions = {}): Promise<Stats> {
    const n = this.note({ method: 'evalBatch', input, loss, options: { ...options } });
    return Promise.resolve(this.answers.stats?.(n, input) ?? {});
  }
  generate(
    input: SequenceSample,
    gconfig: GenerationHyperparameters,
    options: GenerateOptions,
  ): Promise<GenerateOutput> {
    this.note({ method: 'generate', input, options: { ...options, gconfig } });
    return Promise.resolve(this.answers.generate!(input));
  }
}

export class ScriptedTrainEngine extends ScriptedEngine implements TrainEngine {
  trainBatch(input: SequenceSample, loss: Loss, options: TrainOptions): Promise<Stats> {
    const n = this.note({ method: 'trainBatch', input, loss, options: { ...options } });
    return Promise.resolve(this.answers.stats?.(n, input) ?? {});
  }
}

export function modelWith(engine: Engine, globalStep = 0): Model {
  return {
    name: modelName('actor'),
    engine,
    tokenizer: {
      vocabSize,
      eosTokenId: 0,
      padTokenId: 1,
      bosTokenId: null,
      encode: () => new Int32Array(),
      decode: () => '',
    },
    version: { epoch: 0, epochStep: globalStep, globalStep },
    seed: 5,
  };
}
