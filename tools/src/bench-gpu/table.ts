/** Markdown tables, and what peer.py wrote. */

export interface Peer {
  readonly device?: string;
  readonly torch?: string;
  /** TFLOP/s by "f16 NT m×n×k" with x between the sizes. */
  readonly matmul?: Readonly<Record<string, number>>;
  readonly attention?: Readonly<
    Record<string, { readonly fwd_tflops?: number; readonly bwd_tflops?: number }>
  >;
  /** Read and written by a copy, GB/s. */
  readonly copy_gb_s?: number;
  /** Tokens per second by kind of work. */
  readonly model?: Readonly<Record<string, number>>;
}

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** a / b, or nothing where b is unknown. */
export const ratio = (a: number, b: number | undefined) =>
  b === undefined ? '' : (a / b).toFixed(2);
export const digits = (x: number | undefined, n = 1) => (x === undefined ? '' : x.toFixed(n));

/** Whether a is at least `floor` of b, where b is known. */
export const verdict = (a: number, b: number | undefined, floor: number) =>
  b === undefined ? '' : a >= floor * b ? `met (${floor})` : `missed (${floor})`;
