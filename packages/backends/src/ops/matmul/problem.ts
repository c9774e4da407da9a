/** What a matmul call asks, with its shapes checked: sizes and element strides of both operands. */
import { DeviceError, type MatmulArgs } from '@realhf/api';

/** out [m, n] = A [m, k] · B [k, n]; A[i, p] is at i·aRow + p·aCol, B[p, j] at p·bRow + j·bCol. */
export interface MatmulProblem {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transA: boolean;
  readonly transB: boolean;
  readonly aRow: number;
  readonly aCol: number;
  readonly bRow: number;
  readonly bCol: number;
}

/** Throws DeviceError where shapes or types do not fit. */
export function matmulProblem(args: MatmulArgs): MatmulProblem {
  const { a, b, out, bias, addend } = args;
  const [transA, transB] = [args.transA ?? false, args.transB ?? false];
  const [a0 = 0, a1 = 0] = a.shape;
  const [b0 = 0, b1 = 0] = b.shape;
  const [m, k] = transA ? [a1, a0] : [a0, a1];
  const [kb, n] = transB ? [b1, b0] : [b0, b1];
  const fits =
    [a, b, out].every((t) => t.shape.length === 2 && t.dtype === 'f32') &&
    k === kb &&
    out.shape[0] === m &&
    out.shape[1] === n &&
    (!bias || (bias.size === n && bias.dtype === 'f32')) &&
    (!addend || (addend.size === out.size && addend.dtype === 'f32'));
  if (!fits) {
    const side = (t: { shape: readonly number[]; dtype: string }, trans: boolean) =>
      `${t.dtype} [${t.shape.join(', ')}]${trans ? 'ᵀ' : ''}`;
    throw new DeviceError(
      `matmul of ${side(a, transA)} and ${side(b, transB)} into ${side(out, false)}${bias ? ` with bias of ${bias.size}` : ''}${addend ? ` and addend of ${addend.size}` : ''}: need f32 [m, k]·[k, n] into [m, n], bias of n, addend of m·n`,
    );
  }
  const [aRow, aCol] = transA ? [1, m] : [k, 1];
  const [bRow, bCol] = transB ? [1, k] : [n, 1];
  return { m, n, k, transA, transB, aRow, aCol, bRow, bCol };
}
