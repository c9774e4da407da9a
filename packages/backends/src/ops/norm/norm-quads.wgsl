// norm-workgroup.wgsl for rows of 4·params.quads columns, equal to it to the bit: a lane's PER quads are read once and stay
// in registers. Follows row-total.wgsl.
@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> stats: array<vec2f>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> weight: array<vec4f>;
@group(0) @binding(4) var<storage, read> bias: array<vec4f>;

var<private> quads: array<vec4f, PER>;

fn load_row(begin: u32, lane: u32) {
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    quads[i] = vec4f();
    if (c < params.quads) { quads[i] = x[begin + c]; }
  }
}

fn row_stats(row: u32, lane: u32) -> vec2f {
  load_row(row * params.quads, lane);
  let dim = f32(4u * params.quads);
  var mean = 0.0;
  if (KIND == 0u) {
    var sum = vec4f();
    for (var i = 0u; i < PER; i++) { sum += quads[i]; }
    mean = total4(lane, sum) / dim;
  }
  var squares = vec4f();
  for (var i = 0u; i < PER; i++) {
    let v = select(vec4f(), quads[i] - mean, vec4<bool>(lane + i * WG < params.quads));
    squares = fma(v, v, squares);
  }
  let s = vec2f(mean, 1.0 / sqrt(total4(lane, squares) / dim + params.eps));
  if (lane == 0u) { stats[row] = s; }
  return s;
}

fn scaled(i: u32, c: u32, s: vec2f) -> vec4f {
  let w = select(weight[c], 1.0 + weight[c], vec4<bool>(KIND == 2u));
  return (quads[i] - s.x) * s.y * w;
}

@compute @workgroup_size(WG)
fn plain(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let s = row_stats(row, lane);
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    if (c < params.quads) { out[row * params.quads + c] = scaled(i, c, s); }
  }
}

@compute @workgroup_size(WG)
fn with_bias(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let s = row_stats(row, lane);
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    if (c < params.quads) { out[row * params.quads + c] = scaled(i, c, s) + bias[c]; }
  }
}
