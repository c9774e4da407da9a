/**
 * Products with a matrix that is kept in pieces of its rows (params/row-cuts.ts). One piece is the plain product; of
 * several each is multiplied by itself, and the columns that it makes or takes of the other matrix pass through a tensor
 * of their own. x·Wᵀ and dW are the same bits as of one piece; dY·W is added up piece by piece.
 */
import { Arena, type Ops, type Tensor } from '@realhf/api';

/** Rows row … row + tensor.shape[0] of a matrix. */
export interface RowPiece {
  readonly row: number;
  readonly tensor: Tensor;
}
/** In order, without gaps. */
export type RowPieces = readonly RowPiece[];

/** Rows of all pieces. */
export function rowsOf(pieces: RowPieces): number {
  const last = pieces.at(-1);
  return last ? last.row + last.tensor.shape[0]! : 0;
}

/** out [m, n] = x·Wᵀ (+ bias [n]) (+ addend [m, n], which is not out). */
export function timesTransposed(
  ops: Ops,
  x: Tensor,
  w: RowPieces,
  out: Tensor,
  { bias, addend }: { bias?: Tensor; addend?: Tensor } = {},
): void {
  const m = out.shape[0]!;
  for (const { row, tensor } of w) {
    const width = tensor.shape[0]!;
    const work = new Arena(ops);
    let part = out;
    let more = { ...(bias ? { bias } : {}), ...(addend ? { addend } : {}) };
    if (w.length > 1) {
      part = work.empty([m, width]);
      more = {};
      if (bias) {
        more = { bias: work.empty([width]) };
        ops.copy(bias, more.bias!, width, row, 0);
      }
      if (addend) copyColumns(ops, addend, row, part, 0, width);
    }
    const accumulate = w.length > 1 && addend !== undefined;
    ops.matmul({ a: x, b: tensor, out: part, transB: true, ...more, accumulate });
    if (part !== out) copyColumns(ops, part, 0, out, row, width);
    work.release();
  }
}

/** out [m, k] = dy [m, n]·W, or += with `accumulate`. */
export function times(ops: Ops, dy: Tensor, w: RowPieces, out: Tensor, accumulate = false): void {
  eachColumns(ops, dy, w, (a, { row, tensor }) => {
    ops.matmul({ a, b: tensor, out, accumulate: accumulate || row > 0 });
  });
}

/** dW [n, k] += dy [m, n]ᵀ·x [m, k]. */
export function addOuterProduct(ops: Ops, dy: Tensor, x: Tensor, dW: RowPieces): void {
  eachColumns(ops, dy, dW, (a, { tensor }) => {
    ops.matmul({ a, b: x, out: tensor, transA: true, accumulate: true });
  });
}

/** Rows begin ≤ i < end of the matrix: where they are in its pieces, in elements. */
export function rowRanges(
  pieces: RowPieces,
  begin: number,
  end: number,
): { readonly tensor: Tensor; readonly offset: number; readonly row: number; size: number }[] {
  return pieces.flatMap(({ row, tensor }) => {
    const height = tensor.shape[0]!;
    const width = tensor.size / height;
    const [from, to] = [Math.max(begin, row), Math.min(end, row + height)];
    return from < to
      ? [{ tensor, offset: (from - row) * width, row: from, size: (to - from) * width }]
      : [];
  });
}

/** `work` for each piece with the columns of `x` that meet its rows. */
function eachColumns(
  ops: Ops,
  x: Tensor,
  pieces: RowPieces,
  work: (columns: Tensor, piece: RowPiece) => void,
): void {
  if (pieces.length === 1) {
    work(x, pieces[0]!);
    return;
  }
  for (const piece of pieces) {
    const width = piece.tensor.shape[0]!;
    const columns = ops.empty([x.shape[0]!, width]);
    copyColumns(ops, x, piece.row, columns, 0, width);
    work(columns, piece);
    ops.free(columns);
  }
}

/** `width` columns of all rows of `src`, from column `from` on, to those of `dst` from `to` on. */
function copyColumns(
  ops: Ops,
  src: Tensor,
  from: number,
  dst: Tensor,
  to: number,
  width: number,
): void {
  const [rows, across, wide] = [src.shape[0]!, src.shape[1]!, dst.shape[1]!];
  const block = [0, from, to, width, across, wide];
  const blocks = ops.fromHost(Uint32Array.from(block), [1, 6], 'u32');
  const aligned = block.every((n) => n % 4 === 0);
  ops.copyBlocks({ src, blocks, total: rows * width, dst, aligned });
  ops.free(blocks);
}
