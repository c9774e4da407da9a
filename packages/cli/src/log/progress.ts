/**
 * Progress of a run: a bar on a terminal, one line per step elsewhere (at most one a second, first and last always).
 * Speed and remaining time come from the last 20 steps of this process, so a resumed run does not count its past.
 */
import { WriteStream } from 'node:tty';
import { Presets, SingleBar } from 'cli-progress';
import type { Output } from '../options/command.js';

/** A step, for the progress bar. */
export interface ProgressStep {
  /** Steps done, this one included. */
  readonly step: number;
  /** Tokens of this step. */
  readonly tokens: number;
  /** Shown as they are: loss, reward, … */
  readonly values: Readonly<Record<string, number>>;
}

/** Shows a run's progress on a terminal or as lines. */
export interface Progress {
  update(step: ProgressStep): void;
  /** A line of its own: a checkpoint, an evaluation. */
  note(line: string): void;
  /** Ends the bar or prints the last line held back. */
  stop(): void;
}

/** What a progress bar shows. */
export interface ProgressOptions {
  readonly total: number;
  /** Steps done before this process. Default 0. */
  readonly start?: number;
  readonly output: Output;
  /** Milliseconds. Default performance.now. */
  readonly now?: () => number;
  /** Milliseconds between plain lines. Default 1000. */
  readonly interval?: number;
}

const window = 20;

/** `45s`, `3m05s`, `2h07m`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  const s = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, '0');
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  return `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`;
}

/** Four significant digits, without an exponent where that stays short. */
export function formatValue(value: number): string {
  const size = Math.abs(value);
  if (value === 0 || !Number.isFinite(value)) return String(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2);
}

class Meter {
  private readonly total: number;
  private readonly now: () => number;
  private readonly edges: { time: number; tokens: number }[];
  private steps = 0;

  constructor(options: ProgressOptions) {
    this.total = options.total;
    this.now = options.now ?? (() => performance.now());
    this.edges = [{ time: this.now(), tokens: 0 }];
  }
  /** `1234 tokens/s  loss 1.23  eta 45s`. */
  describe({ step, tokens, values }: ProgressStep): string {
    this.edges.push({ time: this.now(), tokens });
    // The first step compiles kernels: it counts only until there is another one.
    if (this.edges.length > window + 1 || ++this.steps === 2) this.edges.shift();
    const seconds = (this.edges.at(-1)!.time - this.edges[0]!.time) / 1000;
    const counted = this.edges.length - 1;
    const sum = this.edges.slice(1).reduce((n, e) => n + e.tokens, 0);
    return [
      `${seconds > 0 ? Math.round(sum / seconds) : '?'} tokens/s`,
      ...Object.entries(values).map(([k, v]) => `${k} ${formatValue(v)}`),
      `eta ${formatSeconds((seconds / counted) * (this.total - step))}`,
    ].join('  ');
  }
}

class PlainProgress implements Progress {
  private readonly options: ProgressOptions;
  private readonly meter: Meter;
  private readonly now: () => number;
  private printed = -Infinity;
  private held: string | undefined;

  constructor(options: ProgressOptions) {
    this.options = options;
    this.meter = new Meter(options);
    this.now = options.now ?? (() => performance.now());
  }
  update(step: ProgressStep): void {
    this.held = `step ${step.step}/${this.options.total}  ${this.meter.describe(step)}`;
    const due = this.now() - this.printed >= (this.options.interval ?? 1000);
    if (due || step.step === this.options.total) this.flush();
  }
  private flush(): void {
    if (this.held === undefined) return;
    this.options.output.write(`${this.held}\n`);
    this.held = undefined;
    this.printed = this.now();
  }
  note(line: string): void {
    this.options.output.write(`${line}\n`);
  }
  stop(): void {
    this.flush();
  }
}

class BarProgress implements Progress {
  private readonly bar: SingleBar;
  private readonly meter: Meter;
  private readonly output: WriteStream;

  constructor(options: ProgressOptions, output: WriteStream) {
    this.output = output;
    this.meter = new Meter(options);
    this.bar = new SingleBar(
      {
        stream: output,
        format: '{bar} {value}/{total}  {text}',
        barsize: 24,
        hideCursor: true,
        // A signal must reach the run, which stops the bar itself.
        gracefulExit: false,
      },
      Presets.shades_classic,
    );
    this.bar.start(options.total, options.start ?? 0, { text: '' });
  }
  update(step: ProgressStep): void {
    this.bar.update(step.step, { text: this.meter.describe(step) });
  }
  note(line: string): void {
    // Over the bar's own line; the bar draws itself again below.
    this.output.write(`\r\x1b[2K${line}\n`);
    this.bar.render();
  }
  stop(): void {
    this.bar.stop();
  }
}

/** A bar where the output is a terminal of this process, else plain lines. */
export function createProgress(options: ProgressOptions): Progress {
  return options.output instanceof WriteStream && options.output.isTTY
    ? new BarProgress(options, options.output)
    : new PlainProgress(options);
}
