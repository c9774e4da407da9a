// Norm backward, one invocation per row: with x̂ = (x − mean)/σ and g = dOut·w,
// dx = (g − [layer] mean(g) − x̂·mean(g·x̂))/σ.
@group(0) @binding(0) var<storage, read_write> dx: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.rows) { return; }
  let begin = row * params.dim;
  let mean = stats[2u * row];
  let inverse = stats[2u * row + 1u];
  var sum = 0.0;
  var dot = 0.0;
  for (var c = 0u; c < params.dim; c++) {
    let g = d_out[begin + c] * select(weight[c], 1.0 + weight[c], KIND == 2u);
    sum += g;
    dot = fma(g, (x[begin + c] - mean) * inverse, dot);
  }
  sum = select(0.0, sum / f32(params.dim), KIND == 0u);
  dot /= f32(params.dim);
  for (var c = 0u; c < params.dim; c++) {
    let g = d_out[begin + c] * select(weight[c], 1.0 + weight[c], KIND == 2u);
    let value = inverse * (g - sum - (x[begin + c] - mean) * inverse * dot);
    if (params.accumulate != 0u) { dx[begin + c] = dx[begin + c] + value; } else { dx[begin + c] = value; }
  }
}
