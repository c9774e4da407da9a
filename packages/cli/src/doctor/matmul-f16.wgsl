// c = a · b, square, row-major, f16 operands, f32 sums: subgroup matrices of 16 × 16 × 16, subgroups of 32.
// Header: enables f16, subgroups, chromium_experimental_subgroup_matrix; const SIZE: u32 (a multiple of 128).
// A workgroup makes 128 × 128 with 16 subgroups of 32 × 32; rows in workgroup memory are padded by 8 f16, without
// which the loads of a matrix fall on the same banks.
@group(0) @binding(0) var<storage, read> a: array<vec4u>; // 8 f16 a vector
@group(0) @binding(1) var<storage, read> b: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;

const TILE = 128u;
const DEPTH = 64u;
const THREADS = 512u;
const ROW = SIZE / 8u; // vectors in a row
const STRIDE_A = (DEPTH + 8u) / 4u; // vec4<f16>
const STRIDE_B = (TILE + 8u) / 4u;

var<workgroup> tile_a: array<vec4<f16>, TILE * STRIDE_A>;
var<workgroup> tile_b: array<vec4<f16>, DEPTH * STRIDE_B>;

@compute @workgroup_size(THREADS)
fn matmul(
  @builtin(workgroup_id) w: vec3u,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) subgroup: u32,
) {
  let row = w.y * TILE;
  let col = w.x * TILE;
  let sub_row = (subgroup / 4u) * 32u;
  let sub_col = (subgroup % 4u) * 32u;
  var sums: array<array<subgroup_matrix_result<f32, 16, 16>, 2>, 2>;
  for (var k = 0u; k < SIZE; k += DEPTH) {
    workgroupBarrier();
    for (var i = t; i < TILE * DEPTH / 8u; i += THREADS) {
      let r = i / (DEPTH / 8u);
      let v = i % (DEPTH / 8u);
      let x = a[(row + r) * ROW + k / 8u + v];
      let at = r * STRIDE_A + v * 2u;
      tile_a[at] = vec4<f16>(bitcast<vec2<f16>>(x.x), bitcast<vec2<f16>>(x.y));
      tile_a[at + 1u] = vec4<f16>(bitcast<vec2<f16>>(x.z), bitcast<vec2<f16>>(x.w));
    }
    for (var i = t; i < DEPTH * TILE / 8u; i += THREADS) {
      let r = i / (TILE / 8u);
      let v = i % (TILE / 8u);
      let x = b[(k + r) * ROW + col / 8u + v];
      let at = r * STRIDE_B + v * 2u;
      tile_b[at] = vec4<f16>(bitcast<vec2<f16>>(x.x), bitcast<vec2<f16>>(x.y));
      tile_b[at + 1u] = vec4<f16>(bitcast<vec2<f16>>(x.z), bitcast<vec2<f16>>(x.w));
    }
    workgroupBarrier();
    for (var kk = 0u; kk < DEPTH; kk += 16u) {
      let a0 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tile_a, sub_row * STRIDE_A + kk / 4u, STRIDE_A);
      let a1 = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tile_a, (sub_row + 16u) * STRIDE_A + kk / 4u, STRIDE_A);
      for (var j = 0u; j < 2u; j++) {
        let bj = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, row_major>(&tile_b, kk * STRIDE_B + (sub_col + j * 16u) / 4u, STRIDE_B);
        sums[0][j] = subgroupMatrixMultiplyAccumulate(a0, bj, sums[0][j]);
        sums[1][j] = subgroupMatrixMultiplyAccumulate(a1, bj, sums[1][j]);
      }
    }
  }
  for (var i = 0u; i < 2u; i++) {
    for (var j = 0u; j < 2u; j++) {
      subgroupMatrixStore<row_major>(&c, (row + sub_row + i * 16u) * SIZE + col + sub_col + j * 16u, sums[i][j], SIZE);
    }
  }
}
