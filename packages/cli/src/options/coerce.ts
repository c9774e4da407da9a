/** Text or YAML values to what an option's kind asks for; `undefined` means that the value does not fit. */
import type { Field, Kind } from './fields.js';

const numeric = /^[+-]?(\d[\d_]*\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const isNull = (text: string) => /^(null|none|~)$/i.test(text);

function splitList(text: string): string[] | undefined {
  const match = /^\[(.*)\]$/s.exec(text);
  if (!match) return undefined;
  const body = match[1]!.trim();
  if (body === '') return [];
  return body.split(',').map((part) => part.trim().replace(/^(['"])(.*)\1$/s, '$2'));
}

function fromKind(kind: Kind, text: string): unknown {
  switch (kind.type) {
    case 'string':
      return text;
    case 'number':
    case 'integer': {
      if (!numeric.test(text)) return undefined;
      const n = Number(text.replaceAll('_', ''));
      return kind.type === 'integer' && !Number.isSafeInteger(n) ? undefined : n;
    }
    case 'boolean':
      return /^true$/i.test(text) ? true : /^false$/i.test(text) ? false : undefined;
    case 'enum':
      return kind.values.includes(text) ? text : undefined;
    case 'list': {
      const items = splitList(text)?.map((item) => fromKind(kind.element, item));
      return items?.includes(undefined) ? undefined : items;
    }
    case 'union':
      return kind.members.map((m) => fromKind(m, text)).find((v) => v !== undefined);
  }
}

/** `1e-5`, `true`, `null`, `[a,b]` as written on a command line. */
export function fromText(field: Field, text: string): unknown {
  if (field.nullable && isNull(text)) return null;
  return fromKind(field.kind, text);
}

function fromTyped(kind: Kind, value: unknown): unknown {
  switch (kind.type) {
    case 'string':
      // YAML reads `trial_name: 7` as a number; the text is what was meant.
      return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
    case 'number':
      // YAML 1.2 reads 1e-5 as a number, but a quoted one or 1_000 as text.
      return typeof value === 'string' ? fromKind(kind, value) : finite(value);
    case 'integer':
      return typeof value === 'string'
        ? fromKind(kind, value)
        : Number.isSafeInteger(value)
          ? value
          : undefined;
    case 'boolean':
      return typeof value === 'boolean' ? value : undefined;
    case 'enum':
      return kind.values.includes(String(value)) ? String(value) : undefined;
    case 'list': {
      if (!Array.isArray(value)) return undefined;
      const items = value.map((item) => fromTyped(kind.element, item));
      return items.includes(undefined) ? undefined : items;
    }
    case 'union':
      return kind.members.map((m) => fromTyped(m, value)).find((v) => v !== undefined);
  }
}

const finite = (value: unknown) =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

/** A value of a config file. */
export function fromYaml(field: Field, value: unknown): unknown {
  if (value === null) return field.nullable ? null : undefined;
  return fromTyped(field.kind, value);
}
