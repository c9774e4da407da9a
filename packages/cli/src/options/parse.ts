/**
 * Command line to config: `--config file.yaml` below, `key=value` above, defaults for the rest, then the schema's
 * own checks. Every failure is a one-line ConfigError that names the option.
 */
import { readFileSync } from 'node:fs';
import { ConfigError } from '@realhf/api';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { fromText, fromYaml } from './coerce.js';
import { type Field, fieldsOf, kindName } from './fields.js';
import { didYouMean } from './suggest.js';

/** Options of a command, defaults filled in. */
export interface Parsed<T> {
  readonly config: T;
  /** Dotted names of the options that were given. */
  readonly given: ReadonlySet<string>;
}

/** Flags and `key=value` words of one command, before the schema sees them. */
export interface Arguments {
  readonly help: boolean;
  /** Print the resolved options and stop. */
  readonly printConfig: boolean;
  readonly configFile: string | undefined;
  readonly assignments: ReadonlyMap<string, string>;
}

/** Short names of options, as the field's users also write them. */
const aliases: Readonly<Record<string, string>> = { recover: 'recover_mode' };

/**
 * Splits words; one without `=` fills the next of `positional` (of a last `name...` all become the list `name`), and `--name value` or `--name=value` is `name=value`
 * for the names in `flags`. Throws ConfigError for a repeated key, a stray word, an unknown flag. */
export function splitArguments(
  words: readonly string[],
  positional: readonly string[] = [],
  flags: readonly string[] = [],
): Arguments {
  let bareWords = 0;
  const list: string[] = [];
  const assignments = new Map<string, string>();
  let help = false;
  let printConfig = false;
  let configFile: string | undefined;
  const assign = (name: string, value: string) => {
    const key = aliases[name] ?? name;
    const before = assignments.get(key);
    if (before !== undefined)
      throw new ConfigError(`option '${key}' is given twice (${before} and ${value}); keep one`);
    assignments.set(key, value);
  };
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    if (word === '--help' || word === '-h') help = true;
    else if (word === '--print-config') printConfig = true;
    else if (word === '--config' || word.startsWith('--config=')) {
      const file = word === '--config' ? words[++i] : word.slice('--config='.length);
      if (!file) throw new ConfigError('--config needs a file: --config run.yaml');
      if (configFile !== undefined)
        throw new ConfigError('--config is given twice; merge the files');
      configFile = file;
    } else if (word.startsWith('-')) {
      const bare = word.replace(/^-+/, '');
      const name = bare.split('=', 1)[0]!;
      if (!flags.includes(name)) throw unknownFlag(word, flags);
      const value = bare.includes('=') ? bare.slice(name.length + 1) : words[++i];
      if (value === undefined) throw new ConfigError(`--${name} needs a value: --${name} VALUE`);
      assign(name, value);
    } else {
      const at = word.indexOf('=');
      const many = positional.at(-1)?.endsWith('...') === true;
      const next = positional[many ? Math.min(bareWords, positional.length - 1) : bareWords];
      if (at === 0 || (at < 0 && next === undefined))
        throw new ConfigError(`'${word}' is not of the form key=value`);
      if (at < 0) bareWords++;
      if (at < 0 && next!.endsWith('...')) list.push(word);
      else if (at < 0) assign(next!, word);
      else assign(word.slice(0, at), word.slice(at + 1));
    }
  }
  if (list.length > 0) assign(positional.at(-1)!.slice(0, -3), `[${list.join(',')}]`);
  return { help, printConfig, configFile, assignments };
}

function unknownFlag(word: string, flags: readonly string[]): ConfigError {
  const bare = word.replace(/^-+/, '');
  const known = [...flags.map((f) => `--${f}`), '--config', '--print-config', '--help'];
  return new ConfigError(
    bare.includes('=')
      ? `unknown flag '${word}'; options have no dashes: write ${bare}`
      : `unknown flag '${word}'; flags are ${known.join(', ')}, options are written key=value`,
  );
}

const show = (value: unknown) =>
  value === undefined
    ? 'not given'
    : typeof value === 'string'
      ? `'${value}'`
      : JSON.stringify(value);

function misfit(field: Field, found: unknown, where: string): ConfigError {
  const choice = field.kind.type === 'enum' ? `one of ${field.kind.values.join(', ')}` : undefined;
  const expected =
    (choice ?? withArticle(kindName(field.kind))) + (field.nullable ? ' or null' : '');
  return new ConfigError(`${where}option '${field.name}' is ${show(found)}, expected ${expected}`);
}

const withArticle = (noun: string) => `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`;

function lookup(fields: ReadonlyMap<string, Field>, key: string, where: string): Field {
  const field = fields.get(key);
  if (field) return field;
  const inside = [...fields.keys()].filter((k) => k.startsWith(`${key}.`));
  if (inside.length > 0)
    throw new ConfigError(
      `${where}'${key}' is a group of options; set one of them, such as ${inside[0]!}=…`,
    );
  throw new ConfigError(`${where}unknown option '${key}'${didYouMean(key, fields.keys())}`);
}

function readYaml(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new ConfigError(`can't read config file '${file}': ${(cause as Error).message}`, {
      cause,
    });
  }
  const document = parseDocument(text, { uniqueKeys: true });
  const error = document.errors[0];
  if (error) throw new ConfigError(`config file '${file}': ${error.message.split('\n')[0]!}`);
  return document.toJS() as unknown;
}

function fromFile(file: string, fields: ReadonlyMap<string, Field>): Map<string, unknown> {
  const values = new Map<string, unknown>();
  const where = `config file '${file}': `;
  const visit = (node: unknown, prefix: string): void => {
    if (typeof node !== 'object' || node === null || Array.isArray(node))
      throw new ConfigError(
        `${where}${prefix ? `'${prefix}'` : 'the top level'} is ${show(node)}, expected a mapping of options`,
      );
    for (const [key, value] of Object.entries(node)) {
      const name = prefix ? `${prefix}.${key}` : key;
      const isGroup = [...fields.keys()].some((k) => k.startsWith(`${name}.`));
      if (isGroup && !fields.has(name)) {
        visit(value, name);
        continue;
      }
      const field = lookup(fields, name, where);
      const typed = fromYaml(field, value);
      if (typed === undefined) throw misfit(field, value, where);
      values.set(name, typed);
    }
  };
  visit(readYaml(file) ?? {}, '');
  return values;
}

function nest(values: ReadonlyMap<string, unknown>, fields: Iterable<string>): unknown {
  const root: Record<string, unknown> = {};
  const objectAt = (parts: readonly string[]) => {
    let node = root;
    for (const part of parts) node = (node[part] ??= {}) as Record<string, unknown>;
    return node;
  };
  // Groups exist even when nothing in them is given, so that their defaults and required options apply.
  for (const name of fields) objectAt(name.split('.').slice(0, -1));
  for (const [name, value] of values) {
    const parts = name.split('.');
    objectAt(parts.slice(0, -1))[parts.at(-1)!] = value;
  }
  return root;
}

function issueText(issue: z.core.$ZodIssue): string {
  if (issue.code === 'too_small')
    return `expected ${issue.inclusive ? 'at least' : 'more than'} ${issue.minimum}${issue.origin === 'string' ? ' characters' : ''}`;
  if (issue.code === 'too_big')
    return `expected ${issue.inclusive ? 'at most' : 'less than'} ${issue.maximum}${issue.origin === 'string' ? ' characters' : ''}`;
  return issue.message;
}

function issueError(
  issue: z.core.$ZodIssue,
  values: ReadonlyMap<string, unknown>,
  fields: ReadonlyMap<string, Field>,
): ConfigError {
  const name = issue.path.join('.');
  const field = fields.get(name);
  if (!field) return new ConfigError(name ? `${name}: ${issue.message}` : issue.message);
  const given = values.get(name);
  if (given === undefined && field.required)
    return new ConfigError(`option '${name}' is missing (${field.description}); add ${name}=…`);
  const found = given === undefined ? `${show(field.default)} by default` : show(given);
  return new ConfigError(`option '${name}' is ${found}: ${issueText(issue)}`);
}

/** What one option is given, unchecked, before the schema is settled; undefined: nothing. Throws ConfigError. */
export function peekOption(
  schema: z.ZodType,
  { configFile, assignments }: Pick<Arguments, 'configFile' | 'assignments'>,
  name: string,
): unknown {
  const field = fieldsOf(schema).find((f) => f.name === name);
  const text = assignments.get(name);
  if (!field) return undefined;
  if (text !== undefined) return fromText(field, text);
  if (configFile === undefined) return undefined;
  return name
    .split('.')
    .reduce<unknown>(
      (node, key) => (node as Readonly<Record<string, unknown>> | undefined)?.[key],
      readYaml(configFile) ?? undefined,
    );
}

/** Typed, checked options. Throws ConfigError. */
export function parseOptions<S extends z.ZodType>(
  schema: S,
  args: Pick<Arguments, 'configFile' | 'assignments'>,
): Parsed<z.output<S>> {
  const fields = new Map(fieldsOf(schema).map((f) => [f.name, f]));
  const values =
    args.configFile === undefined ? new Map<string, unknown>() : fromFile(args.configFile, fields);
  for (const [key, text] of args.assignments) {
    const field = lookup(fields, key, '');
    const typed = fromText(field, text);
    if (typed === undefined) throw misfit(field, text, '');
    values.set(key, typed);
  }
  const result = schema.safeParse(nest(values, fields.keys()));
  if (!result.success) throw issueError(result.error.issues[0]!, values, fields);
  return { config: result.data, given: new Set(values.keys()) };
}
