/**
 * Weights between a Hugging Face checkpoint and our parameters, tensor by tensor: at most one full parameter and
 * one checkpoint tensor are in memory. The checkpoint is checked as a whole, names and shapes, before the first
 * value is read.
 */
import { CheckpointError, type ModelConfig, type ParamSpec } from '@realhf/api';
import { paramSpecs } from '../params/specs.js';
import { hfFamilies } from './families.js';
import type { HfFamily, TensorMapping } from './family.js';
import { actorHead, criticHead } from './mapping.js';

/** A checkpoint's tensors; `@realhf/model/node` opens one from files. */
export interface TensorSource {
  /** Where it came from, for messages. */
  readonly name: string;
  names(): readonly string[];
  /** Shape of a tensor, undefined if there is none of that name. */
  shape(name: string): readonly number[] | undefined;
  /** Row-major values as f32. Throws CheckpointError. */
  read(name: string): Promise<Float32Array>;
}

export interface WeightsFromHfOptions {
  /** The checkpoint is an actor's: leave out the critic's head, which stays as initialised (reference: M15). */
  readonly initCriticFromActor?: boolean;
  /** Only these parameters (a pipeline stage's); all are checked. */
  readonly only?: (param: string) => boolean;
}

/** A Hugging Face tensor to be written. */
export interface HfTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Calls `onParam` with every parameter in full, in the order of the flat space. Throws CheckpointError naming the
 * tensors that are missing, unexpected or of another shape.
 */
export async function weightsFromHf(
  config: ModelConfig,
  source: TensorSource,
  onParam: (param: string, full: Float32Array) => void | Promise<void>,
  { initCriticFromActor = false, only = () => true }: WeightsFromHfOptions = {},
): Promise<void> {
  const family = hfFamilies.get(config.family);
  const plan = resolve(family, config, source, initCriticFromActor);
  for (const spec of paramSpecs(config)) {
    const parts = plan.get(spec.name);
    if (!parts || !only(spec.name)) continue;
    const first = parts[0]!;
    let full: Float32Array;
    if (parts.length === 1 && !first.mapping.transposed) full = await source.read(first.stored);
    else {
      full = new Float32Array(spec.size);
      for (const { stored, mapping } of parts)
        place(full, spec, mapping, await source.read(stored));
    }
    await onParam(spec.name, full);
  }
}

/** The checkpoint's tensors one by one, from full parameters. */
export async function* weightsToHf(
  config: ModelConfig,
  getParam: (param: string) => Float32Array | Promise<Float32Array>,
): AsyncGenerator<HfTensor, void> {
  const specs = new Map(paramSpecs(config).map((s) => [s.name, s]));
  let held: { name: string; full: Float32Array } | undefined;
  for (const m of hfFamilies.get(config.family).tensors(config)) {
    const spec = specs.get(m.param)!;
    if (held?.name !== m.param) held = { name: m.param, full: await getParam(m.param) };
    if (held.full.length !== spec.size)
      throw new CheckpointError(
        `parameter '${m.param}' has ${held.full.length} elements, its shape ${JSON.stringify(spec.shape)} asks for ${spec.size}`,
      );
    yield { name: m.hf, shape: m.hfShape, data: take(held.full, spec, m) };
  }
}

interface Part {
  /** Name in this checkpoint. */
  readonly stored: string;
  readonly mapping: TensorMapping;
}

/** Finds every tensor that the config asks for; names may lack the family's prefix. */
function resolve(
  family: HfFamily,
  config: ModelConfig,
  source: TensorSource,
  initCriticFromActor: boolean,
): Map<string, Part[]> {
  const plan = new Map<string, Part[]>();
  const used = new Set<string>();
  const missing: string[] = [];
  for (const mapping of family.tensors(config)) {
    const isHead = mapping.hf === actorHead || mapping.hf === criticHead;
    if (isHead && config.isCritic && initCriticFromActor) continue;
    const stored = alternatives(family, mapping).find((n) => source.shape(n) !== undefined);
    if (stored === undefined) {
      missing.push(mapping.hf);
      continue;
    }
    checkShape(config, source, stored, mapping);
    used.add(stored);
    plan.set(mapping.param, [...(plan.get(mapping.param) ?? []), { stored, mapping }]);
  }
  if (missing.length > 0)
    throw new CheckpointError(
      `${source.name} lacks ${list(missing)}, which its config asks for; is it a complete ${family.name} checkpoint?`,
    );
  const unneeded = (name: string) =>
    used.has(name) ||
    family.ignored.test(name) ||
    (name === actorHead && config.tiedEmbedding && !config.isCritic) ||
    (config.isCritic && initCriticFromActor && (name === actorHead || name === criticHead));
  const unexpected = source.names().filter((n) => !unneeded(n));
  if (unexpected.length > 0)
    throw new CheckpointError(
      `${source.name} has ${list(unexpected)}, which a ${family.name} of its config does not have; correct config.json or use the right checkpoint`,
    );
  return plan;
}

function alternatives(family: HfFamily, { hf }: TensorMapping): string[] {
  if (hf === criticHead) return [criticHead, actorHead];
  return hf.startsWith(family.basePrefix) ? [hf, hf.slice(family.basePrefix.length)] : [hf];
}

function checkShape(
  config: ModelConfig,
  source: TensorSource,
  stored: string,
  { hfShape }: TensorMapping,
): void {
  const found = source.shape(stored)!;
  if (found.length === hfShape.length && found.every((n, i) => n === hfShape[i])) return;
  const hint =
    config.isCritic && stored === actorHead
      ? '; to start a critic from an actor set initCriticFromActor'
      : '';
  throw new CheckpointError(
    `${source.name}: tensor '${stored}' has shape ${JSON.stringify(found)}, the config asks for ${JSON.stringify(hfShape)}${hint}`,
  );
}

/** Copies a checkpoint tensor into its rows of the full parameter. */
function place(
  full: Float32Array,
  spec: ParamSpec,
  { rows: [begin, end], transposed }: TensorMapping,
  data: Float32Array,
): void {
  const width = spec.shape[1] ?? 1;
  if (!transposed) full.set(data, begin * width);
  else transpose(data, width, end - begin, full.subarray(begin * width, end * width));
}

/** The other way: a copy when transposed, else a view. */
function take(
  full: Float32Array,
  spec: ParamSpec,
  { rows: [begin, end], transposed }: TensorMapping,
): Float32Array {
  const width = spec.shape[1] ?? 1;
  const rows = full.subarray(begin * width, end * width);
  if (!transposed) return rows;
  const out = new Float32Array(rows.length);
  transpose(rows, end - begin, width, out);
  return out;
}

/** [rows, columns] → [columns, rows]. */
function transpose(from: Float32Array, rows: number, columns: number, into: Float32Array): void {
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) into[c * rows + r] = from[r * columns + c]!;
}

function list(names: readonly string[]): string {
  const rest = names.length - 5;
  return `${names
    .slice(0, 5)
    .map((n) => `'${n}'`)
    .join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}
