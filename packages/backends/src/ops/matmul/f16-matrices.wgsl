// 16×16×16 matrices of a subgroup of 32, and the entry point.
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

fn left(i: u32, k: u32) -> Left { return subgroupMatrixLoad<Left, col_major>(&tile_a, k * A_LD + i / 4u, A_LD); }

fn right(k: u32, j: u32) -> Right { return subgroupMatrixLoad<Right, row_major>(&tile_b, k * B_LD + j / 4u, B_LD); }

fn multiply(a: Left, b: Right, c: Sum) -> Sum { return subgroupMatrixMultiplyAccumulate(a, b, c); }

// Writes 16 rows, PATCH_LD apart, into the patch that starts at `base`.
fn spill(sum: Sum, base: u32) { subgroupMatrixStore<row_major>(&patches, base, sum, PATCH_LD); }

// A matrix straight to out.
fn store_sum(sum: Sum, i: u32, j: u32, lane: u32, down: f32) {
  let scaled = subgroupMatrixScalarMultiply(sum, down);
  subgroupMatrixStore<row_major>(&dst, (out_base + i * params.n + j) / OUT_LANES, scaled, params.n / OUT_LANES);
}

@compute @workgroup_size(T)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  tile(group, t, subgroup, lane);
}
