// Norm backward, one workgroup per row: with x̂ = (x − mean)/σ and g = dOut·w,
// dx = (g − [layer] mean(g) − x̂·mean(g·x̂))/σ. Follows row-total.wgsl.
@group(0) @binding(0) var<storage, read_write> dx: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let begin = row * params.dim;
  let mean = stats[2u * row];
  let inverse = stats[2u * row + 1u];
  var sums = vec2f();
  for (var c = lane; c < params.dim; c += WG) {
    let g = d_out[begin + c] * select(weight[c], 1.0 + weight[c], KIND == 2u);
    sums = vec2f(sums.x + g, fma(g, (x[begin + c] - mean) * inverse, sums.y));
  }
  sums = total_each(lane, vec4f(sums, 0.0, 0.0)).xy / f32(params.dim);
  let shift = select(0.0, sums.x, KIND == 0u);
  for (var c = lane; c < params.dim; c += WG) {
    let g = d_out[begin + c] * select(weight[c], 1.0 + weight[c], KIND == 2u);
    let value = inverse * (g - shift - (x[begin + c] - mean) * inverse * sums.y);
    if (params.accumulate != 0u) { dx[begin + c] = dx[begin + c] + value; } else { dx[begin + c] = value; }
  }
}
