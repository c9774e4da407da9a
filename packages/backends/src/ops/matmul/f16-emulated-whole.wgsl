// Emulated matrices of f16-whole.wgsl from out and to it, and the entry point.
fn load_sum(i: u32, j: u32, lane: u32) -> Sum {
  let at = (out_base + (i + lane / 2u) * params.n + j) / 4u + lane % 2u * 2u;
  if (params.start == 2u) { return Sum(addend[at], addend[at + 1u]); }
  return Sum(dst[at], dst[at + 1u]);
}

fn store_sum(sum: Sum, i: u32, j: u32, lane: u32) {
  let at = (out_base + (i + lane / 2u) * params.n + j) / 4u + lane % 2u * 2u;
  dst[at] = sum.low;
  dst[at + 1u] = sum.high;
}

@compute @workgroup_size(T)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  my_lane = t % 32u;
  tile(group, t, t / 32u, my_lane);
}
