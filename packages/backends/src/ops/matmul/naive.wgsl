// out[i, j] = Σ a[i, k]·b[k, j] with one element per invocation and any strides: the baseline of the timings, and the
// order of accumulation (k ascending, fma) that every other matmul kernel keeps bit for bit.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;

fn product(i: u32, j: u32) -> f32 {
  var sum = 0.0;
  for (var k = 0u; k < params.k; k++) {
    sum = fma(a[i * params.a_row + k * params.a_col], b[k * params.b_row + j * params.b_col], sum);
  }
  return sum;
}

fn store(at: u32, value: f32) {
  if (params.accumulate != 0u) { dst[at] = dst[at] + value; } else { dst[at] = value; }
}

@compute @workgroup_size(WG)
fn plain(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  if (at < params.m * params.n) { store(at, product(at / params.n, at % params.n)); }
}

@compute @workgroup_size(WG)
fn with_bias(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  if (at < params.m * params.n) {
    let j = at % params.n;
    store(at, product(at / params.n, j) + bias[j]);
  }
}
