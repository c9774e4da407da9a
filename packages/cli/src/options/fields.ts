/**
 * Reads a zod object schema as a list of options: one per leaf, with its dotted name, kind, default and meaning.
 * Wrappers (default, prefault, optional, nullable, pipe) are looked through; the outermost description wins.
 */
import { ConfigError } from '@realhf/api';
import { z } from 'zod';

export type Kind =
  | { readonly type: 'string' | 'number' | 'integer' | 'boolean' }
  | { readonly type: 'enum'; readonly values: readonly string[] }
  | { readonly type: 'list'; readonly element: Kind }
  | { readonly type: 'union'; readonly members: readonly Kind[] };

export interface Field {
  /** Dotted: `actor.optimizer.lr`. */
  readonly name: string;
  readonly kind: Kind;
  readonly nullable: boolean;
  /** No default and not optional. Objects around options always exist. */
  readonly required: boolean;
  /** Undefined: none. */
  readonly default: unknown;
  readonly description: string;
}

interface Peeled {
  readonly inner: z.ZodType;
  readonly nullable: boolean;
  readonly optional: boolean;
  readonly default: unknown;
  readonly description: string | undefined;
}

function peel(schema: z.ZodType): Peeled {
  let inner = schema;
  let nullable = false;
  let optional = false;
  let fallback: unknown;
  let description = schema.description;
  for (;;) {
    let next: z.ZodType;
    if (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault) {
      if (!optional) fallback = inner.def.defaultValue;
      optional = true;
      next = inner.unwrap() as z.ZodType;
    } else if (inner instanceof z.ZodOptional) {
      optional = true;
      next = inner.unwrap() as z.ZodType;
    } else if (inner instanceof z.ZodNullable) {
      nullable = true;
      next = inner.unwrap() as z.ZodType;
    } else if (inner instanceof z.ZodPipe) next = inner.in as z.ZodType;
    else return { inner, nullable, optional, default: fallback, description };
    inner = next;
    description ??= inner.description;
  }
}

function kindOf(schema: z.ZodType, name: string): Kind {
  if (schema instanceof z.ZodString) return { type: 'string' };
  if (schema instanceof z.ZodBoolean) return { type: 'boolean' };
  if (schema instanceof z.ZodNumber)
    return { type: schema.format === 'safeint' ? 'integer' : 'number' };
  if (schema instanceof z.ZodEnum) return { type: 'enum', values: schema.options.map(String) };
  if (schema instanceof z.ZodLiteral)
    return { type: 'enum', values: [...schema.values].map(String) };
  if (schema instanceof z.ZodArray)
    return { type: 'list', element: kindOf(peel(schema.element as z.ZodType).inner, name) };
  if (schema instanceof z.ZodUnion)
    return { type: 'union', members: schema.options.map((o) => kindOf(o as z.ZodType, name)) };
  throw new ConfigError(
    `option '${name}' has a schema of type ${schema.type}, which has no text form`,
  );
}

function valueAt(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)[key]
    : undefined;
}

function walk(
  schema: z.ZodType,
  prefix: string,
  fallback: unknown,
  out: { fields: Field[]; groups: Map<string, string> },
): void {
  const { inner } = peel(schema);
  if (!(inner instanceof z.ZodObject))
    throw new ConfigError(`options of '${prefix || 'a command'}' need an object schema`);
  for (const [key, raw] of Object.entries(inner.shape)) {
    const name = prefix ? `${prefix}.${key}` : key;
    const p = peel(raw as z.ZodType);
    const inherited = valueAt(fallback, key) ?? p.default;
    if (p.inner instanceof z.ZodObject) {
      if (p.description) out.groups.set(name, p.description);
      walk(p.inner, name, inherited, out);
    } else {
      out.fields.push({
        name,
        kind: kindOf(p.inner, name),
        nullable: p.nullable,
        required: !p.optional && inherited === undefined,
        default: inherited,
        description: p.description ?? '',
      });
    }
  }
}

/** All options of an object schema, in the schema's order. Throws ConfigError for a leaf that text can't express. */
export function fieldsOf(schema: z.ZodType): Field[] {
  return describeSchema(schema).fields;
}

/** Options, and the descriptions of the objects around them by dotted name. */
export function describeSchema(schema: z.ZodType): {
  readonly fields: Field[];
  readonly groups: ReadonlyMap<string, string>;
} {
  const out = { fields: [], groups: new Map<string, string>() };
  walk(schema, '', undefined, out);
  return out;
}

/** `integer`, `number`, `a|b|c`, `list of string`, with `|null` where null is a value. */
export function kindName(kind: Kind, nullable = false): string {
  const text =
    kind.type === 'enum'
      ? kind.values.join('|')
      : kind.type === 'list'
        ? `list of ${kindName(kind.element)}`
        : kind.type === 'union'
          ? kind.members.map((m) => kindName(m)).join('|')
          : kind.type;
  return nullable ? `${text}|null` : text;
}
