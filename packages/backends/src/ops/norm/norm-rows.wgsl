// LayerNorm, RMSNorm and Gemma's RMSNorm, one invocation per row (the fast form on software adapters).
// KIND: 0 layer, 1 rms, 2 gemma. stats [rows, 2] = (mean, 1/σ), mean 0 without LayerNorm.
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

fn row_stats(row: u32) -> vec2f {
  let begin = row * params.dim;
  var mean = 0.0;
  if (KIND == 0u) {
    for (var c = 0u; c < params.dim; c++) { mean += x[begin + c]; }
    mean /= f32(params.dim);
  }
  var squares = 0.0;
  for (var c = 0u; c < params.dim; c++) {
    let v = x[begin + c] - mean;
    squares = fma(v, v, squares);
  }
  let inverse = 1.0 / sqrt(squares / f32(params.dim) + params.eps);
  stats[2u * row] = mean;
  stats[2u * row + 1u] = inverse;
  return vec2f(mean, inverse);
}

fn scaled(row: u32, c: u32, s: vec2f) -> f32 {
  let w = select(weight[c], 1.0 + weight[c], KIND == 2u);
  return (x[row * params.dim + c] - s.x) * s.y * w;
}

@compute @workgroup_size(WG)
fn plain(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.rows) { return; }
  let s = row_stats(row);
  for (var c = 0u; c < params.dim; c++) { out[row * params.dim + c] = scaled(row, c, s); }
}

@compute @workgroup_size(WG)
fn with_bias(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.rows) { return; }
  let s = row_stats(row);
  for (var c = 0u; c < params.dim; c++) { out[row * params.dim + c] = scaled(row, c, s) + bias[c]; }
}
