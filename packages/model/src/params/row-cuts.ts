/**
 * A matrix that is larger than a segment is kept as several, cut by rows: an 8B model's embedding of 128,256 tokens has
 * 2.1 GB in f32, more than a GPU binds at once. Nothing outside this file and transformer/row-pieces.ts knows of it.
 */
import { ConfigError, type ModelConfig, type ParamSpec } from '@realhf/api';

import type { ParamSlice, Range } from './tensor-slices.js';

/** Cuts are multiples of it where so many rows fit. */
const preferredRows = 64;

/** Rows of a rank's part of a parameter. */
export interface RowCut {
  readonly slice: ParamSlice;
  /** First of the rank's rows. */
  readonly row: number;
}

/** The slice in pieces of at most `capacity` elements, as equal as can be. Throws ConfigError where that can't be. */
export function cutByRows(
  config: ModelConfig,
  spec: ParamSpec,
  slice: ParamSlice,
  capacity: number,
): RowCut[] {
  const size = elements(slice);
  if (size <= capacity) return [{ slice, row: 0 }];
  const height = slice.shape[0]!;
  const width = size / height;
  const unit = rowUnit(config, spec, height, Math.floor(capacity / width));
  const most = Math.floor(capacity / (unit * width));
  if (most === 0)
    throw new ConfigError(
      `parameter '${spec.name}' has ${size} elements on this rank, a segment holds ${capacity}${unit === height ? '' : `, its smallest part ${unit * width}`}; use a device that binds more, or raise the tensor parallel size`,
    );
  const units = Math.ceil(height / unit);
  const rows = Math.ceil(units / Math.ceil(units / most)) * unit;
  const cuts: RowCut[] = [];
  for (let row = 0; row < height; row += rows)
    cuts.push({ slice: someRows(slice, row, Math.min(row + rows, height)), row });
  return cuts;
}

/** Elements of the local tensor. */
export function elements({ shape }: ParamSlice): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** Rows that stay together: all of vectors and of small matrices, those of an expert, else what makes even cuts. */
function rowUnit(config: ModelConfig, spec: ParamSpec, height: number, fit: number): number {
  if (spec.shape.length === 1 || /lora_|\.router\./.test(spec.name)) return height;
  if (spec.name.includes('.experts_')) return height / config.moe!.numExperts;
  return fit >= preferredRows ? preferredRows : 1;
}

/** Local rows begin ≤ i < end; padding comes after all others. */
function someRows(slice: ParamSlice, begin: number, end: number): ParamSlice {
  const rows: Range[] = [];
  let at = 0;
  for (const [first, last] of slice.rows) {
    const from = Math.max(begin, at);
    const to = Math.min(end, at + last - first);
    if (from < to) rows.push([first + from - at, first + to - at]);
    at += last - first;
  }
  return { rows, columns: slice.columns, shape: [end - begin, ...slice.shape.slice(1)] };
}
