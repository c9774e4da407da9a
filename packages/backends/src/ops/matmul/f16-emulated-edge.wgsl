// Emulated matrices of f16-edge.wgsl from and to patches, and the entry point.
fn spill(sum: Sum, base: u32) {
  let at = base + my_lane / 2u * PATCH_LD + my_lane % 2u * 8u;
  for (var i = 0u; i < 4u; i++) {
    patches[at + i] = sum.low[i];
    patches[at + 4u + i] = sum.high[i];
  }
}

fn unspill(base: u32) -> Sum {
  let at = base + my_lane / 2u * PATCH_LD + my_lane % 2u * 8u;
  return Sum(
    vec4f(patches[at], patches[at + 1u], patches[at + 2u], patches[at + 3u]),
    vec4f(patches[at + 4u], patches[at + 5u], patches[at + 6u], patches[at + 7u]),
  );
}

@compute @workgroup_size(T)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  my_lane = t % 32u;
  tile(group, t, t / 32u, my_lane);
}
