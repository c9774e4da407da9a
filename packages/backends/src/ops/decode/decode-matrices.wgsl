// Matrices of decode-product.wgsl: 16×8×8, of a subgroup of 32, straight from octets; rows of 16 sums in workgroup memory.
alias Left = subgroup_matrix_left<f16, 8, 16>;
alias Right = subgroup_matrix_right<f16, 8, 8>;
alias Sum = subgroup_matrix_result<f32, 8, 16>;

fn left(at: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&a, at, 2u); }
fn right(at: u32) -> Right { return subgroupMatrixLoad<Right, col_major>(&b, at, 2u); }
fn multiply(l: Left, r: Right, c: Sum) -> Sum { return subgroupMatrixMultiplyAccumulate(l, r, c); }
fn spill(sum: Sum, at: u32) { subgroupMatrixStore<row_major>(&spilled, at, sum, 16u); }

@compute @workgroup_size(T)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  product(group, t, subgroup);
}
