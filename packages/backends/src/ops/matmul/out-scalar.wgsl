// Writes up to four columns of a row of out: + bias, + what is there.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// Elements before the matrix (partial products lie one after the other).
var<private> out_base: u32;
fn store_one(at: u32, j: u32, sum: f32) {
  if (j >= params.n) { return; }
  var value = sum;
  if (params.has_bias != 0u) { value += bias[j]; }
  if (params.accumulate != 0u) { value = dst[at] + value; }
  dst[at] = value;
}
fn store(i: u32, j: u32, sum: vec4f) {
  if (i >= params.m) { return; }
  let at = out_base + i * params.n + j;
  store_one(at, j, sum.x);
  store_one(at + 1u, j + 1u, sum.y);
  store_one(at + 2u, j + 2u, sum.z);
  store_one(at + 3u, j + 3u, sum.w);
}
