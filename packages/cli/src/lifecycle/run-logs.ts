/**
 * Log files of a run, `logs/<process>.log`: lines begin with a time (ISO 8601), by which those of all processes are
 * merged. A line without one (a stack, what a library prints) belongs to the line before it.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

const stamp = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;

/** A line as it stands in a log. */
export const stamped = (text: string): string => `${new Date().toISOString()} ${text}`;

/** Adds lines to one process's log. */
export function appendLog(run: string, name: string, text: string): void {
  mkdirSync(join(run, 'logs'), { recursive: true });
  appendFileSync(join(run, 'logs', `${name}.log`), `${stamped(text)}\n`);
}

interface Line {
  readonly time: string;
  readonly order: number;
  readonly text: string;
}

/** The last `n` lines of all logs together, `<process>: <line>`. */
export function tailLogs(run: string, n: number): string[] {
  const dir = join(run, 'logs');
  if (!existsSync(dir)) return [];
  const lines: Line[] = [];
  for (const file of readdirSync(dir)
    .filter((f) => f.endsWith('.log'))
    .sort())
    lines.push(...linesOf(file, readFileSync(join(dir, file), 'utf8'), lines.length));
  return lines
    .sort((a, b) => (a.time === b.time ? a.order - b.order : a.time < b.time ? -1 : 1))
    .slice(-n)
    .map((l) => l.text);
}

function linesOf(file: string, text: string, order: number): Line[] {
  let time = '';
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line, i) => {
      time = stamp.exec(line)?.[0] ?? time;
      return { time, order: order + i, text: `${file.slice(0, -4)}: ${line}` };
    });
}

/** Gives lines that come after now, until aborted. Looks every `pollMs`. */
export async function followLogs(
  run: string,
  signal: AbortSignal,
  show: (line: string) => void,
  pollMs = 200,
): Promise<void> {
  const dir = join(run, 'logs');
  const seen = new Map<string, number>();
  const look = (tell: boolean) => {
    for (const file of existsSync(dir) ? readdirSync(dir).filter((f) => f.endsWith('.log')) : []) {
      const text = readFileSync(join(dir, file), 'utf8');
      // A line that is not finished yet waits for the next look.
      const end = text.lastIndexOf('\n') + 1;
      const from = seen.get(file) ?? 0;
      if (tell) for (const l of linesOf(file, text.slice(from, end), 0)) show(l.text);
      seen.set(file, end);
    }
  };
  look(false);
  while (!signal.aborted) {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pollMs);
      signal.addEventListener(
        'abort',
        () => {
          clearTimeout(timer);
          resolve();
        },
        { once: true },
      );
    });
    look(true);
  }
}
