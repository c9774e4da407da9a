/**
 * A role of a graph that holds no model: its interface asks somebody else. It has a tokenizer, and an engine that
 * refuses; in the plan of a run it weighs nothing.
 */
import {
  ConfigError,
  modelKey,
  type Engine,
  type Model,
  type ModelConfig,
  type ModelName,
  type Tokenizer,
} from '@realhf/api';

/** `config`: of the model whose tokenizer it has. */
export function externalModel(
  name: ModelName,
  {
    tokenizer,
    config: { seed },
  }: { readonly tokenizer: Tokenizer; readonly config: { readonly seed: number } },
  config: ModelConfig,
): Model {
  const refuse = () =>
    Promise.reject(
      new ConfigError(
        `model ${modelKey(name)} is not loaded: its rewards come from reward.fn or reward.url`,
      ),
    );
  const engine: Engine = {
    config,
    logProbs: refuse,
    values: refuse,
    evalBatch: refuse,
    generate: refuse,
  };
  return { name, engine, tokenizer, version: { epoch: 0, epochStep: 0, globalStep: 0 }, seed };
}

/** Sizes that plans reckon with. */
export function weightless(config: ModelConfig): ModelConfig {
  return { ...config, nLayers: 1, hiddenDim: 1, intermediateDim: 1, vocabSize: 1, headDim: 1 };
}
