// 16×16×16 matrices of a subgroup of 32.
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

fn left(i: u32, k: u32) -> Left { return subgroupMatrixLoad<Left, col_major>(&tile_a, k * A_LD + i / 4u, A_LD); }

fn right(k: u32, j: u32) -> Right { return subgroupMatrixLoad<Right, row_major>(&tile_b, k * B_LD + j / 4u, B_LD); }

fn multiply(l: Left, r: Right, c: Sum) -> Sum { return subgroupMatrixMultiplyAccumulate(l, r, c); }

// By a power of two: exact.
fn times(sum: Sum, factor: f32) -> Sum {
  if (SCALED == 1u) { return subgroupMatrixScalarMultiply(sum, factor); }
  return sum;
}
