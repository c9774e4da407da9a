// `add`: dst = a + b. `add_to`: dst += b. `scale`: dst = alpha·a. `scale_in_place`: dst = alpha·dst.
// T is f32, or vec4f: then params.count counts quads.
@group(0) @binding(0) var<storage, read_write> dst: array<T>;
@group(0) @binding(1) var<storage, read> a: array<T>;
@group(0) @binding(2) var<storage, read> b: array<T>;

@compute @workgroup_size(WG)
fn add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[i] = a[i] + b[i]; }
}

@compute @workgroup_size(WG)
fn add_to(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[i] = dst[i] + a[i]; }
}

@compute @workgroup_size(WG)
fn scale(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[i] = params.alpha * a[i]; }
}

@compute @workgroup_size(WG)
fn scale_in_place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[i] = params.alpha * dst[i]; }
}
