/** Help texts: every option with type, default and meaning, grouped by its dotted prefix, wrapped to the terminal. */
import type { Command } from './command.js';
import { type Field, describeSchema, kindName } from './fields.js';

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}

function defaultText(field: Field): string {
  if (field.required) return 'required';
  const d = field.default;
  if (d === undefined) return '-';
  return d === '' ? "''" : typeof d === 'string' ? d : JSON.stringify(d);
}

const groupOf = (name: string) => name.split('.').slice(0, -1).join('.');

/** Rows of aligned columns, the last one wrapped. */
function table(
  rows: readonly (readonly [string, string, string, string])[],
  columns: number,
): string {
  const width = (i: 0 | 1 | 2, cap: number) =>
    Math.min(cap, Math.max(...rows.map((r) => r[i].length)));
  const [a, b, c] = [width(0, 48), width(1, 26), width(2, 24)];
  const left = 2 + a + 2 + b + 2 + c + 2;
  // Below 24 columns for the meaning, it goes on lines of its own.
  const narrow = columns - left < 24;
  return rows
    .map(([name, kind, value, meaning]) => {
      const head = `  ${name.padEnd(a)}  ${kind.padEnd(b)}  ${value.padEnd(c)}`;
      // A list of many choices: what it takes and its default get lines of their own.
      if (head.length > columns)
        return [
          `  ${name}`,
          ...[`${kind.replaceAll('|', ' | ')}; default ${value}`, meaning]
            .flatMap((text) => wrap(text, columns - 6))
            .map((l) => `      ${l}`),
        ].join('\n');
      if (narrow)
        return [head.trimEnd(), ...wrap(meaning, columns - 6).map((l) => `      ${l}`)].join('\n');
      const lines = wrap(meaning, columns - left);
      // A column that overflows pushes the meaning to the next line instead of breaking the alignment.
      const first = head.length + 2 > left ? [head] : [];
      const body = first.length > 0 ? lines : lines.slice(1);
      const start = first.length > 0 ? head : `${head}  ${lines[0]!}`;
      return [start, ...body.map((l) => ' '.repeat(left) + l)].map((l) => l.trimEnd()).join('\n');
    })
    .join('\n');
}

/** `real <command> --help`. Columns: characters of the terminal. */
export function commandHelp(command: Command, columns: number): string {
  const groups = new Map<string, Field[]>();
  const schema = describeSchema(command.schema);
  for (const field of schema.fields) {
    const group = groupOf(field.name);
    groups.set(group, [...(groups.get(group) ?? []), field]);
  }
  const parts = [
    `real ${command.name}: ${command.summary}`,
    `Usage: real ${[command.name, ...(command.positional ?? []).map((p) => p.toUpperCase())].join(' ')} [--config file.yaml] [key=value …]`,
  ];
  const flags: [string, string, string, string][] = [
    ['--config FILE', '', '', 'read options from a YAML file; key=value overrides them'],
    ['--print-config', '', '', 'print the resolved options as YAML and stop'],
    ['--help', '', '', 'this text'],
  ];
  if (command.flags?.length)
    flags.push(['--NAME VALUE', '', '', `the same as NAME=VALUE, for ${command.flags.join(', ')}`]);
  const all = [...groups.values()].flat();
  const rows = (fields: readonly Field[]) =>
    fields.map((f): [string, string, string, string] => [
      f.name,
      kindName(f.kind, f.nullable),
      defaultText(f),
      f.description,
    ]);
  parts.push(`Flags:\n${flags.map(([f, , , m]) => `  ${f.padEnd(16)}${m}`).join('\n')}`);
  if (all.length > 0) parts.push('Options: name, type, default, meaning');
  for (const [group, fields] of groups) {
    const meaning = schema.groups.get(group);
    const title = group === '' ? 'General' : meaning ? `${group}: ${meaning}` : group;
    parts.push(`${title}\n${table(rows(fields), columns)}`);
  }
  if (command.examples?.length)
    parts.push(`Examples:\n${command.examples.map((e) => `  ${e}`).join('\n')}`);
  return `${parts.join('\n\n')}\n`;
}

/** `real --help`. */
export function topHelp(commands: readonly Command[], version: string): string {
  const width = Math.max(0, ...commands.map((c) => c.name.length));
  return [
    `real ${version}: RLHF training on WebGPU`,
    '',
    'Usage: real <command> [key=value …]',
    '',
    'Commands:',
    ...commands.map((c) => `  ${c.name.padEnd(width)}  ${c.summary}`),
    '',
    '  real <command> --help lists the options of a command',
    '  real --version        prints the version',
    '  REAL_DEBUG=1          prints the stack of an error',
    '',
  ].join('\n');
}
