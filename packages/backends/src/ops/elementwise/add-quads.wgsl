// add.wgsl four elements at a time; params.count counts quads.
@group(0) @binding(0) var<storage, read_write> dst: array<vec4f>;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;

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
