// dst[i] = value, as raw 32-bit words; `by4`: four at a time.
@group(0) @binding(0) var<storage, read_write> dst: array<u32>;
@group(0) @binding(0) var<storage, read_write> dst4: array<vec4u>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[i] = params.value; }
}

@compute @workgroup_size(WG)
fn by4(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst4[i] = vec4u(params.value); }
}
