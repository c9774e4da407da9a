// First stage of dWeight and dBias: per block of BLOCK rows and column, Σ dOut·x̂ and Σ dOut, rows ascending.
// dst = [2, blocks, params.dim]: weights' partial sums, then biases'.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(1) var<storage, read> stats: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> d_out: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  if (at >= params.blocks * params.dim) { return; }
  let begin = at / params.dim * BLOCK;
  let end = min(params.rows, begin + BLOCK);
  let c = at % params.dim;
  var weights = 0.0;
  var biases = 0.0;
  for (var row = begin; row < end; row++) {
    let d = d_out[row * params.dim + c];
    weights = fma(d, (x[row * params.dim + c] - stats[2u * row]) * stats[2u * row + 1u], weights);
    biases += d;
  }
  dst[at] = weights;
  dst[params.blocks * params.dim + at] = biases;
}
