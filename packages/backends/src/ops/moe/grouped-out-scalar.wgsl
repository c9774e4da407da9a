// Writes up to four columns of a row of out; rows from row_end on are not of this tile.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
var<private> out_base: u32;
var<private> row_end: u32;
fn store_one(at: u32, j: u32, sum: f32) {
  if (j >= params.n) { return; }
  if (KIND == 2u) { dst[at] = dst[at] + sum; } else { dst[at] = sum; }
}
fn store(i: u32, j: u32, sum: vec4f) {
  if (i >= row_end) { return; }
  let at = out_base + i * params.n + j;
  store_one(at, j, sum.x);
  store_one(at + 1u, j + 1u, sum.y);
  store_one(at + 2u, j + 2u, sum.z);
  store_one(at + 3u, j + 3u, sum.w);
}
