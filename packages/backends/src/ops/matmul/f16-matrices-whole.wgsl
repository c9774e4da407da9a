// Whole matrices of f16-whole.wgsl from out and to it, and the entry point.
fn load_sum(i: u32, j: u32, lane: u32) -> Sum {
  if (params.start == 2u) {
    return subgroupMatrixLoad<Sum, row_major>(&addend, (i * params.n + j) / 4u, params.n / 4u);
  }
  return subgroupMatrixLoad<Sum, row_major>(&dst, (out_base + i * params.n + j) / 4u, params.n / 4u);
}

fn store_sum(sum: Sum, i: u32, j: u32, lane: u32) {
  subgroupMatrixStore<row_major>(&dst, (out_base + i * params.n + j) / 4u, sum, params.n / 4u);
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
