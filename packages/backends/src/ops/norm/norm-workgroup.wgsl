// The norms of norm-rows.wgsl, one workgroup per row (the fast form on GPUs): sums by lane, then by a fixed tree.
// KIND: 0 layer, 1 rms, 2 gemma. stats [rows, 2] = (mean, 1/σ), mean 0 without LayerNorm. WG is a power of two.
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

var<workgroup> lanes: array<f32, WG>;

fn total(lane: u32, value: f32) -> f32 {
  lanes[lane] = value;
  workgroupBarrier();
  for (var width = WG / 2u; width > 0u; width /= 2u) {
    if (lane < width) { lanes[lane] += lanes[lane + width]; }
    workgroupBarrier();
  }
  let sum = lanes[0];
  workgroupBarrier();
  return sum;
}

fn row_stats(begin: u32, lane: u32) -> vec2f {
  var mean = 0.0;
  if (KIND == 0u) {
    for (var c = lane; c < params.dim; c += WG) { mean += x[begin + c]; }
    mean = total(lane, mean) / f32(params.dim);
  }
  var squares = 0.0;
  for (var c = lane; c < params.dim; c += WG) {
    let v = x[begin + c] - mean;
    squares = fma(v, v, squares);
  }
  return vec2f(mean, 1.0 / sqrt(total(lane, squares) / f32(params.dim) + params.eps));
}

fn keep(row: u32, lane: u32, s: vec2f) {
  if (lane == 0u) {
    stats[2u * row] = s.x;
    stats[2u * row + 1u] = s.y;
  }
}

fn scaled(at: u32, c: u32, s: vec2f) -> f32 {
  let w = select(weight[c], 1.0 + weight[c], KIND == 2u);
  return (x[at] - s.x) * s.y * w;
}

@compute @workgroup_size(WG)
fn plain(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let s = row_stats(row * params.dim, lane);
  keep(row, lane, s);
  for (var c = lane; c < params.dim; c += WG) { out[row * params.dim + c] = scaled(row * params.dim + c, c, s); }
}

@compute @workgroup_size(WG)
fn with_bias(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let s = row_stats(row * params.dim, lane);
  keep(row, lane, s);
  for (var c = lane; c < params.dim; c += WG) { out[row * params.dim + c] = scaled(row * params.dim + c, c, s) + bias[c]; }
}
