// Writes four columns of a row of out, n a multiple of 4: + bias, + what is there.
@group(0) @binding(0) var<storage, read_write> dst: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// Elements before the matrix (partial products lie one after the other).
var<private> out_base: u32;
fn store(i: u32, j: u32, sum: vec4f) {
  if (i >= params.m || j >= params.n) { return; }
  var value = sum;
  if (params.has_bias != 0u) { value += vec4f(bias[j], bias[j + 1u], bias[j + 2u], bias[j + 3u]); }
  let at = (out_base + i * params.n + j) / 4u;
  if (params.accumulate != 0u) { value = dst[at] + value; }
  dst[at] = value;
}
