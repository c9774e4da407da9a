// out: `bias` is added at the end, what is in out (params.start 1) or in the bias's place (2) at the start.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
// Elements before the matrix (partial products lie one after the other).
var<private> out_base: u32;

fn fetch(i: u32, j: u32) -> vec4f {
  var v = vec4f();
  let at = out_base + i * params.n + j;
  for (var c = 0u; c < 4u; c++) {
    if (i < params.m && j + c < params.n) {
      if (params.start == 2u) { v[c] = bias[at + c]; } else { v[c] = dst[at + c]; }
    }
  }
  return v;
}

fn keep(i: u32, j: u32, v: vec4f) {
  let at = out_base + i * params.n + j;
  for (var c = 0u; c < 4u; c++) {
    if (i < params.m && j + c < params.n) {
      var x = v[c];
      if (params.has_bias != 0u) { x += bias[j + c]; }
      dst[at + c] = x;
    }
  }
}
