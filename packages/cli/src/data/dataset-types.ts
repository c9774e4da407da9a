/**
 * Dataset types of users: a file registers one, `dataset.type=NAME` picks it in any command that trains, and its schema
 * gives the options `dataset.args.*`. It makes items of its own; nothing of a record format is assumed of `path`.
 */
import {
  ConfigError,
  createRegistry,
  type Registry,
  type SequenceSample,
  type Tokenizer,
} from '@realhf/api';
import { IndexedDataSource, type DataSource } from '@realhf/dataflow';
import { z } from 'zod';

import type { Command } from '../options/command.js';
import type { ModelLimits } from './limits.js';

/** What a dataset type opens: items by index; the same index and epoch must always give the same item. */
export interface DatasetItems {
  readonly size: number;
  /** One item with an id of its own and the keys that the command needs: `packed_prompts`, … */
  item(index: number, epoch: number): SequenceSample;
  /** Lines worth telling at the start of a run. */
  readonly notes?: readonly string[];
}

/** What a dataset type is opened with, besides its options. */
export interface TypeRequest {
  /** dataset.path, dataset.train_path or dataset.valid_path. */
  readonly path: string;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  /** Of the model in training. */
  readonly limits: ModelLimits | undefined;
}

/** A dataset type. `open` is called in the program and in every worker that holds data. Throws DataError. */
export interface DatasetType<S extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  /** An object schema: every leaf is an option `dataset.args.*` and has a description. */
  readonly schema: S;
  open(request: TypeRequest & { readonly args: z.output<S> }): Promise<DatasetItems>;
  /** What reward functions and environments get as the record of an id; absent: nothing, `{}`. */
  record?(id: string, request: { readonly path: string; readonly args: z.output<S> }): ItemRecord;
}

type ItemRecord = Readonly<Record<string, unknown>>;

const types: Registry<DatasetType> = createRegistry('dataset type');

/** Throws ConfigError if the name is taken. */
export function registerDataset<S extends z.ZodObject>(type: DatasetType<S>): void {
  types.register(type.name, type);
}

/** The command with the options of a dataset type. Throws ConfigError on an unknown one, or a command that has no types. */
export function withDatasetType(command: Command, name: string): Command {
  const { schema } = command;
  const dataset: unknown = schema instanceof z.ZodObject ? schema.shape.dataset : undefined;
  if (!(schema instanceof z.ZodObject) || !(dataset instanceof z.ZodObject))
    throw new ConfigError(`real ${command.name} takes no dataset.type; leave it out`);
  const args = types.get(name).schema.prefault({}).describe(`options of dataset type ${name}`);
  return {
    ...command,
    schema: schema.safeExtend({
      dataset: dataset.safeExtend({ args }).describe(dataset.description ?? ''),
    }),
  };
}

/** What the options say of a type. */
export interface TypeOptions {
  readonly type: string | null;
  readonly args?: Readonly<Record<string, unknown>> | undefined;
}

/** Opens what `type` names, if it names one. Throws ConfigError where its items lack one of `keys`. */
export async function openDatasetType(
  { type = null, args = {} }: Partial<TypeOptions>,
  keys: readonly string[],
  request: TypeRequest,
): Promise<
  | {
      size: number;
      notes: readonly string[];
      items(): SequenceSample[];
      source(seed: number): DataSource;
    }
  | undefined
> {
  if (type === null) return undefined;
  const known = types.get(type);
  const data = await known.open({ ...request, args: known.schema.parse(args) });
  const made = new Set(data.size > 0 ? data.item(0, 0).keys : keys);
  const missing = keys.filter((k) => !made.has(k));
  if (missing.length > 0)
    throw new ConfigError(
      `dataset type '${type}' makes items of ${[...made].join(', ')}; this command needs ${missing.join(', ')} too`,
    );
  const item = (index: number, epoch: number) => data.item(index, epoch);
  return {
    size: data.size,
    notes: data.notes ?? [],
    items: () => Array.from({ length: data.size }, (_, i) => item(i, 0)),
    source: (seed) => new IndexedDataSource(data.size, item, { seed }),
  };
}

/** The record of an id, as its type knows it. Throws ConfigError on an unknown type. */
export function recordOfType(
  type: string,
  id: string,
  { path, args }: { readonly path: string; readonly args: Readonly<Record<string, unknown>> },
): ItemRecord {
  const known = types.get(type);
  return known.record?.(id, { path, args: known.schema.parse(args) }) ?? {};
}
