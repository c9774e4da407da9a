// dst[i] = value, as raw 32-bit words.
@group(0) @binding(0) var<storage, read_write> dst: array<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[i] = params.value; }
}
