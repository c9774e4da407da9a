// The forms of activation.wgsl, four columns an invocation: `inner` and `count` count vec4s.
@group(0) @binding(0) var<storage, read_write> y4: array<vec4f>;
@group(0) @binding(1) var<storage, read> x4: array<vec4f>;
@group(0) @binding(2) var<storage, read> d4: array<vec4f>;

fn values(v: vec4f) -> vec4f { return vec4f(value(v.x), value(v.y), value(v.z), value(v.w)); }
fn slopes(v: vec4f) -> vec4f { return vec4f(slope(v.x), slope(v.y), slope(v.z), slope(v.w)); }

@compute @workgroup_size(WG)
fn gated4(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let at = i + i / params.inner * params.inner;
  y4[i] = values(x4[at]) * x4[at + params.inner];
}

@compute @workgroup_size(WG)
fn gated_backward4(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let at = i + i / params.inner * params.inner;
  let gate = x4[at];
  let up = x4[at + params.inner];
  let d = d4[i];
  y4[at] = d * up * slopes(gate);
  y4[at + params.inner] = d * values(gate);
}

@compute @workgroup_size(WG)
fn forward4(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { y4[i] = values(x4[i]); }
}

@compute @workgroup_size(WG)
fn backward4(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { y4[i] = d4[i] * slopes(x4[i]); }
}

@compute @workgroup_size(WG)
fn backward_in_place4(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { y4[i] = y4[i] * slopes(x4[i]); }
}
