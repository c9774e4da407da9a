/**
 * What is common to many shard maps. Every parameter is looked at as a matrix (its frame), every map as rectangles in
 * it, and all edges of all rectangles together cut it into cells: all elements of a cell are held by the same maps. A
 * column-parallel weight needs cuts between rows only, a row-parallel one between columns only, so cells are few: a
 * handful per parameter, whatever its number of rows.
 */
import { checkIntervals } from './intervals.js';
import type { StridedInterval, StridedMap } from './intervals.js';

/** Rows r0 ≤ r < r1 and columns c0 ≤ c < c1 of a frame. */
export interface Box {
  readonly r0: number;
  readonly r1: number;
  readonly c0: number;
  readonly c1: number;
}

/** A box as one rank stores it: row r, column c is at `local + (r − r0)·stride + (c − c0)` of its segment. */
export interface Stored extends Box {
  readonly segment: number;
  readonly local: number;
  readonly stride: number;
}

export interface Cell extends Box {
  readonly param: string;
  /** Indices of the maps that hold it, ascending, and where each stores it (several entries if it does so twice). */
  readonly maps: readonly number[];
  readonly stored: readonly (readonly Stored[])[];
}

/** Elements of a box. */
export const boxSize = (b: Box): number => (b.r1 - b.r0) * (b.c1 - b.c0);

/** Cells of all maps, parameters in the order of the flat space. */
export function cellsOf(maps: readonly StridedMap[]): Cell[] {
  const params = new Map<string, { map: number; interval: StridedInterval }[]>();
  maps.forEach((m, map) => {
    checkIntervals(m);
    for (const interval of m.intervals) {
      if (interval.run * interval.count === 0) continue;
      let list = params.get(interval.param);
      if (list === undefined) params.set(interval.param, (list = []));
      list.push({ map, interval });
    }
  });
  return [...params]
    .map(([param, parts]) => ({
      param,
      parts,
      base: parts.reduce((least, p) => Math.min(least, p.interval.global), Infinity),
    }))
    .sort((a, b) => a.base - b.base)
    .flatMap(({ param, parts, base }) => cellsOfParam(param, parts, base));
}

function cellsOfParam(
  param: string,
  parts: readonly { map: number; interval: StridedInterval }[],
  base: number,
): Cell[] {
  const width = frameWidth(parts.map((p) => p.interval));
  const stored = parts.flatMap(({ map, interval }) =>
    inFrame(interval, base, width).map((box) => ({ map, box })),
  );
  const rows = cuts(stored.flatMap(({ box }) => [box.r0, box.r1]));
  const columns = cuts(stored.flatMap(({ box }) => [box.c0, box.c1]));
  const rowAt = new Map(rows.map((r, i) => [r, i]));
  const columnAt = new Map(columns.map((c, i) => [c, i]));
  const across = columns.length - 1;
  const grid = new Map<number, Map<number, Stored[]>>();
  for (const { map, box } of stored)
    for (let r = rowAt.get(box.r0)!; rows[r]! < box.r1; r++)
      for (let c = columnAt.get(box.c0)!; columns[c]! < box.c1; c++) {
        let byMap = grid.get(r * across + c);
        if (byMap === undefined) grid.set(r * across + c, (byMap = new Map<number, Stored[]>()));
        const places = byMap.get(map);
        if (places) places.push(box);
        else byMap.set(map, [box]);
      }
  const cells: Cell[] = [];
  for (const [at, byMap] of [...grid].sort(([a], [b]) => a - b)) {
    const [r, c] = [Math.floor(at / across), at % across];
    const held = [...byMap].sort(([a], [b]) => a - b);
    const cell: Cell = {
      param,
      r0: rows[r]!,
      r1: rows[r + 1]!,
      c0: columns[c]!,
      c1: columns[c + 1]!,
      maps: held.map(([map]) => map),
      stored: held.map(([, places]) => places),
    };
    const last = cells.at(-1);
    if (last && continues(last, cell)) cells[cells.length - 1] = { ...last, c1: cell.c1 };
    else cells.push(cell);
  }
  return cells;
}

/** Whether b is the right-hand part of a: cut only because of other rows of the frame. */
function continues(a: Cell, b: Cell): boolean {
  return (
    a.r0 === b.r0 &&
    a.c1 === b.c0 &&
    a.maps.length === b.maps.length &&
    a.maps.every((m, i) => m === b.maps[i]) &&
    a.stored.every(
      (places, i) =>
        places.length === b.stored[i]!.length && places.every((s, k) => s === b.stored[i]![k]),
    )
  );
}

/** The stride that covers most elements; one row that holds everything if there is none. */
function frameWidth(intervals: readonly StridedInterval[]): number {
  const votes = new Map<number, number>();
  for (const i of intervals)
    if (i.count > 1) votes.set(i.stride, (votes.get(i.stride) ?? 0) + i.run * i.count);
  let best = Infinity;
  let most = 0;
  for (const [stride, n] of votes)
    if (n > most || (n === most && stride < best)) [best, most] = [stride, n];
  return best;
}

/** An interval as boxes of a frame of this width; one whose stride is another is taken run by run. */
function inFrame(i: StridedInterval, base: number, width: number): Stored[] {
  const { segment, run } = i;
  const from = i.global - base;
  if (width === Infinity || i.stride !== width || i.count === 1) {
    const boxes: Stored[] = [];
    for (let k = 0; k < i.count; k++)
      boxes.push(...runInFrame(from + k * i.stride, run, segment, i.local + k * run, width));
    return boxes;
  }
  const r0 = Math.floor(from / width);
  const c0 = from % width;
  const left = Math.min(run, width - c0);
  const box = (row: number, column: number, n: number, local: number): Stored => ({
    r0: row,
    r1: row + i.count,
    c0: column,
    c1: column + n,
    segment,
    local,
    stride: run,
  });
  const boxes = [box(r0, c0, left, i.local)];
  // A run may go over the end of a row if the frame begins in the middle of one.
  if (left < run) boxes.push(box(r0 + 1, 0, run - left, i.local + left));
  return boxes;
}

/** A contiguous run: the end of a row, whole rows, the beginning of a row. */
function runInFrame(
  from: number,
  length: number,
  segment: number,
  local: number,
  width: number,
): Stored[] {
  if (width === Infinity)
    return [{ r0: 0, r1: 1, c0: from, c1: from + length, segment, local, stride: length }];
  const boxes: Stored[] = [];
  for (let done = 0; done < length;) {
    const r0 = Math.floor((from + done) / width);
    const c0 = (from + done) % width;
    const left = length - done;
    const whole = c0 === 0 ? Math.floor(left / width) : 0;
    const n = whole > 0 ? whole * width : Math.min(left, width - c0);
    boxes.push({
      r0,
      r1: r0 + Math.max(1, whole),
      c0,
      c1: whole > 0 ? width : c0 + n,
      segment,
      local: local + done,
      stride: whole > 0 ? width : n,
    });
    done += n;
  }
  return boxes;
}

function cuts(edges: readonly number[]): number[] {
  return [...new Set(edges)].sort((a, b) => a - b);
}
