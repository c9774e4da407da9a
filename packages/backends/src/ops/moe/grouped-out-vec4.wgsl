// Writes four columns of a row of out, n a multiple of 4; rows from row_end on are not of this tile.
@group(0) @binding(0) var<storage, read_write> dst: array<vec4f>;
var<private> out_base: u32;
var<private> row_end: u32;
fn store(i: u32, j: u32, sum: vec4f) {
  if (i >= row_end || j >= params.n) { return; }
  let at = (out_base + i * params.n + j) / 4u;
  if (KIND == 2u) { dst[at] = dst[at] + sum; } else { dst[at] = sum; }
}
