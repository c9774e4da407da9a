// Sums in chunks: one invocation adds CHUNK consecutive elements (or their squares) in a fixed order of four lanes.
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

fn element(i: u32) -> f32 { return select(0.0, x[min(i, params.count - 1u)], i < params.count); }

@compute @workgroup_size(WG)
fn squares(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i > 0u && i * CHUNK >= params.count) { return; }
  var acc = vec4f();
  for (var j = i * CHUNK; j < (i + 1u) * CHUNK; j += 4u) {
    let e = vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u));
    acc += e * e;
  }
  out[params.slot + i] = (acc.x + acc.y) + (acc.z + acc.w);
}

@compute @workgroup_size(WG)
fn sums(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i > 0u && i * CHUNK >= params.count) { return; }
  var acc = vec4f();
  for (var j = i * CHUNK; j < (i + 1u) * CHUNK; j += 4u) {
    acc += vec4f(element(j), element(j + 1u), element(j + 2u), element(j + 3u));
  }
  out[params.slot + i] = (acc.x + acc.y) + (acc.z + acc.w);
}
