/**
 * SequenceSample: the one unit of data (reference: D1–D9). Per key a tensor packed along dim 0 — outer = items
 * of the batch, inner = sequences of the item — of shape [Σ lens, ...trailing]. Metadata-only samples have
 * `data === null`: the master sees only those.
 */
import { DataError } from './errors.js';
import type { HostArray } from './tensor.js';

/** Element types of a sample's tensors. */
export type SampleDType = 'f32' | 'i32' | 'u32' | 'u8';

/** One line per item of the batch, one length per sequence of the item. */
export type SeqLens = readonly (readonly number[])[];

/** What a SequenceSample is made of. */
export interface SequenceSampleInit {
  readonly ids: readonly string[];
  readonly seqlens: Readonly<Record<string, SeqLens>>;
  /** null: metadata only. A single key may be null too (known, not here). */
  readonly data: Readonly<Record<string, HostArray | null>> | null;
  readonly dtypes: Readonly<Record<string, SampleDType>>;
  /** Shape of one entry; [] for scalars. */
  readonly trailingShapes: Readonly<Record<string, readonly number[]>>;
  /** Per key one value per item. */
  readonly metadata?: Readonly<Record<string, readonly unknown[]>>;
}

/** Sum of all lengths. */
export function totalLength(lens: SeqLens): number {
  let n = 0;
  for (const item of lens) for (const l of item) n += l;
  return n;
}

/** The dtype of an array, by its class. */
export function dtypeOf(data: HostArray): SampleDType {
  if (data instanceof Float32Array) return 'f32';
  if (data instanceof Int32Array) return 'i32';
  return data instanceof Uint32Array ? 'u32' : 'u8';
}

const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** f64 [items + 1] running totals; kept per lengths array (they are never mutated), so that n slices cost O(n). */
const offsetCache = new WeakMap<SeqLens, Float64Array>();
function itemOffsets(lens: SeqLens): Float64Array {
  let at = offsetCache.get(lens);
  if (at === undefined) {
    at = new Float64Array(lens.length + 1);
    for (let i = 0; i < lens.length; i++) at[i + 1] = at[i]! + totalLength([lens[i]!]);
    offsetCache.set(lens, at);
  }
  return at;
}

const someIds = (ids: readonly string[]) =>
  ids.length > 3 ? `${ids.slice(0, 3).join(', ')}, … (${ids.length})` : ids.join(', ') || 'none';

/** A batch of items, each with packed sequences under several keys: the one unit of data. */
export class SequenceSample {
  readonly ids: readonly string[];
  seqlens: Readonly<Record<string, SeqLens>>;
  data: Readonly<Record<string, HostArray | null>> | null;
  dtypes: Readonly<Record<string, SampleDType>>;
  trailingShapes: Readonly<Record<string, readonly number[]>>;
  metadata: Readonly<Record<string, readonly unknown[]>>;

  /** Throws DataError naming the key and the id. */
  constructor(init: SequenceSampleInit, options: { validate?: boolean } = {}) {
    this.ids = init.ids;
    this.seqlens = init.seqlens;
    this.data = init.data;
    this.dtypes = init.dtypes;
    this.trailingShapes = init.trailingShapes;
    this.metadata = init.metadata ?? {};
    if (options.validate !== false) this.validate();
  }

  get bs(): number {
    return this.ids.length;
  }
  get keys(): ReadonlySet<string> {
    return new Set(Object.keys(this.seqlens));
  }

  /** The packed tensor of a key; DataError if it is unknown or not here. */
  get(key: string): HostArray {
    const t = this.data?.[key];
    if (!t)
      throw new DataError(
        `sample has no data for key '${key}'; it has ${Object.keys(this.data ?? {}).join(', ') || 'metadata only'}`,
      );
    return t;
  }
  f32(key: string): Float32Array {
    return this.typed(key, Float32Array);
  }
  i32(key: string): Int32Array {
    return this.typed(key, Int32Array);
  }
  u32(key: string): Uint32Array {
    return this.typed(key, Uint32Array);
  }
  u8(key: string): Uint8Array {
    return this.typed(key, Uint8Array);
  }
  private typed<T extends HostArray>(key: string, type: new (n: number) => T): T {
    const t = this.get(key);
    if (!(t instanceof type))
      throw new DataError(`key '${key}' holds ${dtypeOf(t)}, asked for ${type.name}`);
    return t;
  }

  /** Lengths of all sequences of a key, flattened. */
  lengths(key: string): number[] {
    const lens = this.seqlens[key];
    if (!lens)
      throw new DataError(`sample has no key '${key}'; it has ${[...this.keys].join(', ')}`);
    return lens.flat();
  }
  /** i32 [sequences + 1] with leading 0. */
  cuSeqlens(key: string): Int32Array {
    const lens = this.lengths(key);
    const cu = new Int32Array(lens.length + 1);
    lens.forEach((l, i) => (cu[i + 1] = cu[i]! + l));
    return cu;
  }

  private validate(): void {
    const seen = new Set<string>();
    for (const id of this.ids) {
      if (seen.has(id)) throw new DataError(`duplicate id '${id}' in a sample; ids must be unique`);
      seen.add(id);
    }
    const keys = Object.keys(this.seqlens);
    for (const [what, record] of [
      ['dtypes', this.dtypes],
      ['trailingShapes', this.trailingShapes],
      ['data', this.data],
    ] as const) {
      if (record === null) continue;
      const have = Object.keys(record);
      const odd =
        keys.find((k) => !Object.hasOwn(record, k)) ??
        have.find((k) => !Object.hasOwn(this.seqlens, k));
      if (odd !== undefined)
        throw new DataError(
          `key '${odd}' is in only one of seqlens and ${what} (ids ${someIds(this.ids)}); give every key to both`,
        );
    }
    for (const key of keys) {
      const lens = this.seqlens[key]!;
      if (lens.length !== this.ids.length)
        throw new DataError(
          `key '${key}' has lengths for ${lens.length} items, the sample has ${this.ids.length} ids: ${someIds(this.ids)}`,
        );
      lens.forEach((item, i) => {
        for (const l of item)
          if (!Number.isInteger(l) || l < 0)
            throw new DataError(
              `key '${key}', id '${this.ids[i]!}': length ${l} is not a whole number ≥ 0`,
            );
      });
      const t = this.data?.[key];
      if (!t) continue;
      if (dtypeOf(t) !== this.dtypes[key])
        throw new DataError(
          `key '${key}' holds ${dtypeOf(t)}, declared ${this.dtypes[key]!} (ids ${someIds(this.ids)})`,
        );
      const want = totalLength(lens) * elements(this.trailingShapes[key]!);
      if (t.length !== want)
        throw new DataError(
          `key '${key}' has ${t.length} elements, its lengths ask for ${want} (ids ${someIds(this.ids)})`,
        );
    }
    for (const [key, values] of Object.entries(this.metadata)) {
      if (values.length !== this.ids.length)
        throw new DataError(
          `metadata '${key}' has ${values.length} values for ${this.ids.length} ids: ${someIds(this.ids)}`,
        );
    }
  }

  /** The same without tensors. */
  meta(): SequenceSample {
    return new SequenceSample({ ...this.fields(), data: null }, { validate: false });
  }
  private fields(): SequenceSampleInit {
    return {
      ids: this.ids,
      seqlens: this.seqlens,
      data: this.data,
      dtypes: this.dtypes,
      trailingShapes: this.trailingShapes,
      metadata: this.metadata,
    };
  }

  /** Items begin ≤ i < end; tensors are views, not copies. Throws DataError outside 0 ≤ begin ≤ end ≤ bs. */
  slice(begin: number, end: number): SequenceSample {
    if (
      !Number.isInteger(begin) ||
      !Number.isInteger(end) ||
      begin < 0 ||
      end < begin ||
      end > this.bs
    )
      throw new DataError(
        `slice ${begin}…${end} of a sample of ${this.bs} items; ask for items in it`,
      );
    const data: Record<string, HostArray | null> = {};
    if (this.data) {
      for (const [key, t] of Object.entries(this.data)) {
        const width = elements(this.trailingShapes[key]!);
        const at = itemOffsets(this.seqlens[key]!);
        data[key] = t?.subarray(at[begin]! * width, at[end]! * width) ?? null;
      }
    }
    const cut = <T>(r: Readonly<Record<string, readonly T[]>>) =>
      Object.fromEntries(Object.entries(r).map(([k, v]) => [k, v.slice(begin, end)]));
    return new SequenceSample(
      {
        ...this.fields(),
        ids: this.ids.slice(begin, end),
        seqlens: cut(this.seqlens),
        metadata: cut(this.metadata),
        data: this.data && data,
      },
      { validate: false },
    );
  }
  /** One sample per item. */
  unpack(): SequenceSample[] {
    return this.ids.map((_, i) => this.slice(i, i + 1));
  }

  /** Concatenates, copying tensors; keys default to the first sample's, a key that one sample has not here becomes null. */
  static gather(samples: readonly SequenceSample[], keys?: Iterable<string>): SequenceSample {
    const first = samples[0];
    if (!first) throw new DataError('gather needs at least one sample');
    const names = [...(keys ?? first.keys)];
    const seqlens: Record<string, SeqLens> = {};
    const data: Record<string, HostArray | null> = {};
    const pick = <T>(r: Readonly<Record<string, T>>) =>
      Object.fromEntries(names.map((k) => [k, r[k]!]));
    for (const key of names) {
      for (const s of samples) {
        if (!Object.hasOwn(s.seqlens, key))
          throw new DataError(`gather: sample of ids ${someIds(s.ids)} has no key '${key}'`);
        const want = describe(first, key);
        const got = describe(s, key);
        if (got !== want)
          throw new DataError(
            `gather: key '${key}' is ${want} in the first sample, ${got} in that of ids ${someIds(s.ids)}`,
          );
      }
      seqlens[key] = samples.flatMap((s) => s.seqlens[key]!);
      const parts = samples.map((s) => s.data?.[key] ?? null);
      data[key] = parts.some((p) => p === null) ? null : concat(parts as HostArray[]);
    }
    const metadata = Object.fromEntries(
      Object.keys(first.metadata).map((k) => [
        k,
        samples.flatMap((s) => s.metadata[k] ?? s.ids.map(() => null)),
      ]),
    );
    return new SequenceSample({
      ids: samples.flatMap((s) => s.ids),
      seqlens,
      data: samples.every((s) => s.data === null) ? null : data,
      dtypes: pick(first.dtypes),
      trailingShapes: pick(first.trailingShapes),
      metadata,
    });
  }

  /** Adds and overwrites keys; ids must be the same in the same order. */
  update(other: SequenceSample): void {
    if (other.bs !== this.bs || other.ids.some((id, i) => id !== this.ids[i])) {
      throw new DataError(
        `update needs the same ids in the same order: have ${someIds(this.ids)}; got ${someIds(other.ids)}`,
      );
    }
    this.seqlens = { ...this.seqlens, ...other.seqlens };
    this.dtypes = { ...this.dtypes, ...other.dtypes };
    this.trailingShapes = { ...this.trailingShapes, ...other.trailingShapes };
    this.metadata = { ...this.metadata, ...other.metadata };
    if (this.data || other.data) {
      const blank = (s: SequenceSample) =>
        s.data ?? Object.fromEntries([...s.keys].map((k) => [k, null]));
      this.data = { ...blank(this), ...blank(other) };
    }
  }

  /** Renames keys: `{packed_prompts: 'packed_input_ids'}`. Unnamed keys stay. Throws DataError if two keys would share a name. */
  remapKeys(map: Readonly<Record<string, string>>): SequenceSample {
    const taken = new Map<string, string>();
    for (const key of this.keys) {
      const name = map[key] ?? key;
      const other = taken.get(name);
      if (other !== undefined)
        throw new DataError(
          `remap names both '${other}' and '${key}' '${name}'; choose another name`,
        );
      taken.set(name, key);
    }
    const rename = <T>(r: Readonly<Record<string, T>>) =>
      Object.fromEntries(Object.entries(r).map(([k, v]) => [map[k] ?? k, v]));
    return new SequenceSample({
      ...this.fields(),
      seqlens: rename(this.seqlens),
      dtypes: rename(this.dtypes),
      trailingShapes: rename(this.trailingShapes),
      data: this.data && rename(this.data),
    });
  }

  /** Only these keys. */
  select(keys: Iterable<string>): SequenceSample {
    return SequenceSample.gather([this], keys);
  }

  /**
   * Infers lengths of known keys from the token length of each item (reference: D8): 1 for masks and rewards per
   * sequence, L for tokens, L−1 for log-probs; an unknown key is an error.
   */
  static fromDefault(init: {
    ids: readonly string[];
    seqlens: readonly number[];
    data: Readonly<Record<string, HostArray>>;
    metadata?: Readonly<Record<string, readonly unknown[]>>;
  }): SequenceSample {
    const seqlens: Record<string, SeqLens> = {};
    const dtypes: Record<string, SampleDType> = {};
    const trailingShapes: Record<string, readonly number[]> = {};
    for (const [key, t] of Object.entries(init.data)) {
      const rule = defaultLengths.get(key);
      if (rule === undefined)
        throw new DataError(
          `no default length for key '${key}'; build the sample with explicit seqlens`,
        );
      seqlens[key] = init.seqlens.map((l) => [rule === 'one' ? 1 : rule === 'full' ? l : l - 1]);
      dtypes[key] = dtypeOf(t);
      const n = totalLength(seqlens[key]);
      trailingShapes[key] = n > 0 && t.length !== n && t.length % n === 0 ? [t.length / n] : [];
    }
    return new SequenceSample({
      ids: init.ids,
      seqlens,
      data: init.data,
      dtypes,
      trailingShapes,
      ...(init.metadata ? { metadata: init.metadata } : {}),
    });
  }
}

const describe = (s: SequenceSample, key: string) =>
  `${s.dtypes[key]!}[${s.trailingShapes[key]!.join(',')}]`;

function concat(parts: readonly HostArray[]): HostArray {
  const first = parts[0]!;
  const Type = first.constructor as new (n: number) => HostArray;
  const out = new Type(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const lengthRules: Readonly<Record<'one' | 'full' | 'short', string>> = {
  one: 'seq_no_eos_mask greedy_seq_no_eos_mask loss_mask rewards greedy_rewards',
  full:
    'input_ids packed_seq seq packed_logits_mask logits_mask prompt_mask greedy_prompt_mask ' +
    'packed_input_ids greedy_packed_input_ids values packed_prompts',
  short:
    'packed_logprobs logprobs packed_ref_logprobs ref_logprobs old_logp ref_logp advantages ' +
    'ppo_loss_mask kl_rewards returns',
};
const defaultLengths = new Map(
  Object.entries(lengthRules).flatMap(([rule, keys]) => keys.split(' ').map((k) => [k, rule])),
);
