/**
 * ExperimentSpec: what an experiment is, without a device: its calls, its models, its data. One process runs it, or
 * many do: master and workers make the same spec from the same options.
 */
import type { MFCDef, OptimizerConfig, Tokenizer } from '@realhf/api';
import type { Workload } from '@realhf/dataflow';

import type { OpenedDataset } from '../data/from-options.js';
import type { JointEvaluation } from '../evaluate/joint-evaluation.js';
import type { CommonConfig } from '../options/schemas/common.js';
import type { MfcOptions } from '../options/schemas/mfc.js';
import type { AnyModelOptions } from '../options/schemas/model.js';

/** A model of the graph and where its weights come from. */
export interface RoleSpec {
  /** Role in the graph. */
  readonly role: string;
  /** Key in the options, for messages: actor, rew, … */
  readonly key: string;
  readonly options: AnyModelOptions;
  readonly isCritic: boolean;
  readonly seed: number;
  /** Holds no model, only a tokenizer: its interface asks somebody else. `options` are then of whose tokenizer it has. */
  readonly external?: boolean;
  /** Absent: the model is only run. */
  readonly optimizer?: OptimizerConfig;
}

/** A run as data: calls, models, dataset, and what is shown. */
export interface ExperimentSpec {
  readonly config: CommonConfig;
  readonly mfcs: readonly MFCDef[];
  readonly datasetKeys: readonly string[];
  /** Items per step. */
  readonly nSeqs: number;
  readonly roles: readonly RoleSpec[];
  /** Options of each call by MFC, for its layout. */
  readonly calls: Readonly<Record<string, MfcOptions>>;
  /** Lengths to plan for, in tokens. */
  readonly workload: Workload;
  readonly tokenizer: Tokenizer;
  /** Reads the dataset. Throws DataError (file and line) or ConfigError (fewer records than a batch). */
  openData(): Promise<OpenedDataset>;
  /** Evaluates by several models, in the process that drives the run; absent: each trained model's interface evaluates it. */
  readonly evaluate?: JointEvaluation | undefined;
  /** Shown in the progress line, from the stats of all MFCs: `[label, mfc, stat]`. */
  readonly shown: readonly (readonly [label: string, mfc: string, stat: string])[];
}
