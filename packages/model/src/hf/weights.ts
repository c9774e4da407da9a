/**
 * Weights between a Hugging Face checkpoint and our parameters. Reading streams pieces of a few million elements,
 * only those that are wanted; writing holds one full parameter. The checkpoint is checked as a whole, names and
 * shapes, before the first value is read.
 */
import { CheckpointError, type ModelConfig, type ParamSpec } from '@realhf/api';
import type { ElementRange } from '../params/local-runs.js';
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
  /** Its elements begin ≤ i < end. A source without it is read tensor by tensor. */
  readRange?(name: string, begin: number, end: number): Promise<Float32Array>;
}

/** Which weights are read, and of what kind of model. */
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

/** Which weights are streamed. */
export interface StreamWeightsOptions extends WeightsFromHfOptions {
  /** Elements of a parameter that are wanted, ascending and apart. Default: all. */
  readonly ranges?: (param: string) => readonly ElementRange[];
  /** Elements of a piece at most. Default 4 Mi (16 MiB as f32). */
  readonly pieceElements?: number;
}

/**
 * Calls `onPart` with pieces of parameters, `values` being the elements from `begin` on, parameters in the order of
 * the flat space and every wanted element once. Memory: one piece, or one tensor where the checkpoint stores it
 * transposed. Throws CheckpointError naming the tensors that are missing, unexpected or of another shape.
 */
export async function streamWeightsFromHf(
  config: ModelConfig,
  source: TensorSource,
  onPart: (param: string, begin: number, values: Float32Array) => void | Promise<void>,
  options: StreamWeightsOptions = {},
): Promise<void> {
  const { initCriticFromActor = false, only = () => true, pieceElements = 2 ** 22 } = options;
  const family = hfFamilies.get(config.family);
  const plan = resolve(family, config, source, initCriticFromActor);
  for (const spec of paramSpecs(config)) {
    const parts = plan.get(spec.name);
    if (!parts || !only(spec.name)) continue;
    const wanted = options.ranges?.(spec.name) ?? [[0, spec.size] as const];
    for (const { stored, mapping } of parts) {
      const width = spec.size / spec.shape[0]!;
      const first = mapping.rows[0] * width;
      const last = mapping.rows[1] * width;
      const here = wanted
        .map(([a, b]) => [Math.max(a, first), Math.min(b, last)] as const)
        .filter(([a, b]) => a < b);
      if (here.length === 0) continue;
      const readPart = await partReader(source, stored, mapping, width);
      for (const [a, b] of here)
        for (let at = a; at < b; at += pieceElements) {
          const end = Math.min(at + pieceElements, b);
          await onPart(spec.name, at, await readPart(at - first, end - first));
        }
    }
  }
}

/** Reads elements of a parameter's rows out of the tensor that stores them. */
async function partReader(
  source: TensorSource,
  stored: string,
  { rows: [begin, end], transposed }: TensorMapping,
  width: number,
): Promise<(from: number, to: number) => Promise<Float32Array>> {
  if (!transposed && source.readRange) return (from, to) => source.readRange!(stored, from, to);
  let whole = await source.read(stored);
  if (transposed) {
    const turned = new Float32Array(whole.length);
    transpose(whole, width, end - begin, turned);
    whole = turned;
  }
  return (from, to) => Promise.resolve(whole.subarray(from, to));
}

/** As `streamWeightsFromHf`, with every parameter in full; `onParam` may keep it. */
export async function weightsFromHf(
  config: ModelConfig,
  source: TensorSource,
  onParam: (param: string, full: Float32Array) => void | Promise<void>,
  options: WeightsFromHfOptions = {},
): Promise<void> {
  const sizes = new Map(paramSpecs(config).map((s) => [s.name, s.size]));
  let full = new Float32Array(0);
  let filled = 0;
  await streamWeightsFromHf(
    config,
    source,
    async (param, begin, values) => {
      if (filled === 0) full = new Float32Array(sizes.get(param)!);
      full.set(values, begin);
      filled += values.length;
      if (filled < full.length) return;
      filled = 0;
      await onParam(param, full);
    },
    options,
  );
}

/** The checkpoint's tensors one by one, from full parameters; `otherNames`: as the family also reads them, if it does. */
export async function* weightsToHf(
  config: ModelConfig,
  getParam: (param: string) => Float32Array | Promise<Float32Array>,
  { otherNames = false }: { readonly otherNames?: boolean } = {},
): AsyncGenerator<HfTensor, void> {
  const family = hfFamilies.get(config.family);
  const tensors =
    (otherNames ? family.otherTensors?.(config) : undefined) ?? family.tensors(config);
  const specs = new Map(paramSpecs(config).map((s) => [s.name, s]));
  let held: { name: string; full: Float32Array } | undefined;
  for (const m of tensors) {
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
  for (const mapping of namesOf(family, config, source)) {
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

/** The names that more of the source's tensors have. */
function namesOf(family: HfFamily, config: ModelConfig, source: TensorSource): TensorMapping[] {
  const usual = family.tensors(config);
  const other = family.otherTensors?.(config);
  if (!other) return usual;
  const has = (m: TensorMapping) =>
    alternatives(family, m).some((n) => source.shape(n) !== undefined);
  const own = (list: readonly TensorMapping[], names: ReadonlySet<string>) =>
    list.filter((m) => !names.has(m.hf) && has(m)).length;
  const names = (list: readonly TensorMapping[]) => new Set(list.map((m) => m.hf));
  return own(other, names(usual)) > own(usual, names(other)) ? other : usual;
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

/** A parameter's rows as the checkpoint stores them: a copy when transposed, else a view. */
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
