// Matrices of f16-edge.wgsl from and to patches of workgroup memory, PATCH_LD from row to row, and the entry point.
fn spill(sum: Sum, base: u32) { subgroupMatrixStore<row_major>(&patches, base, sum, PATCH_LD); }

fn unspill(base: u32) -> Sum { return subgroupMatrixLoad<Sum, row_major>(&patches, base, PATCH_LD); }

@compute @workgroup_size(T)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  tile(group, t, subgroup, lane);
}
