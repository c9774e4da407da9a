// The norms of norm-rows.wgsl, one workgroup per row, for any number of columns (norm-quads.wgsl: multiples of four).
// Lane l takes the columns 4·(l + i·WG) + {0, 1, 2, 3}; sums as in row-total.wgsl, which comes before.
// KIND: 0 layer, 1 rms, 2 gemma. stats [rows, 2] = (mean, 1/σ), mean 0 without LayerNorm.
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

// Four columns less `mean`; those beyond the row are 0.
fn centred(begin: u32, c: u32, mean: f32) -> vec4f {
  let last = begin + params.dim - 1u;
  let at = begin + c;
  let v = vec4f(x[at], x[min(at + 1u, last)], x[min(at + 2u, last)], x[min(at + 3u, last)]) - mean;
  return select(vec4f(), v, c + vec4u(0u, 1u, 2u, 3u) < vec4u(params.dim));
}

fn row_stats(begin: u32, lane: u32) -> vec2f {
  var mean = 0.0;
  if (KIND == 0u) {
    var sum = vec4f();
    for (var c = 4u * lane; c < params.dim; c += 4u * WG) { sum += centred(begin, c, 0.0); }
    mean = total4(lane, sum) / f32(params.dim);
  }
  var squares = vec4f();
  for (var c = 4u * lane; c < params.dim; c += 4u * WG) {
    let v = centred(begin, c, mean);
    squares = fma(v, v, squares);
  }
  return vec2f(mean, 1.0 / sqrt(total4(lane, squares) / f32(params.dim) + params.eps));
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
