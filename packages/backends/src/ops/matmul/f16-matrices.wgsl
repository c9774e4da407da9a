// 16×16×16 matrices of a subgroup of 32.
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

fn left(i: u32, k: u32) -> Left {
  if (A_INNER == 1u) { return subgroupMatrixLoad<Left, row_major>(&tile_a, (k / 16u * BM + i) * LD, LD); }
  return subgroupMatrixLoad<Left, col_major>(&tile_a, (i / 16u * BK + k) * LD, LD);
}

fn right(k: u32, j: u32) -> Right {
  if (B_INNER == 1u) { return subgroupMatrixLoad<Right, col_major>(&tile_b, (k / 16u * BN + j) * LD, LD); }
  return subgroupMatrixLoad<Right, row_major>(&tile_b, (j / 16u * BK + k) * LD, LD);
}

fn multiply(l: Left, r: Right, c: Sum) -> Sum { return subgroupMatrixMultiplyAccumulate(l, r, c); }

// By a power of two: exact.
fn times(sum: Sum, factor: f32) -> Sum {
  if (SCALED == 1u) { return subgroupMatrixScalarMultiply(sum, factor); }
  return sum;
}
