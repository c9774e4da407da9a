// c = a · b, square, row-major f32; 4 rows × 8 columns per invocation, operands straight from storage.
// Header: const SIZE: u32 (a multiple of 128).
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<vec4f>;

const ROW = SIZE / 4u; // vectors in a row

// A workgroup of 16 × 16 makes 64 rows × 128 columns.
@compute @workgroup_size(16, 16)
fn matmul(@builtin(global_invocation_id) id: vec3u) {
  let col = id.x * 2u;
  let row = id.y * 4u;
  var s00 = vec4f();
  var s01 = vec4f();
  var s10 = vec4f();
  var s11 = vec4f();
  var s20 = vec4f();
  var s21 = vec4f();
  var s30 = vec4f();
  var s31 = vec4f();
  for (var k = 0u; k < ROW; k++) {
    let a0 = a[row * ROW + k];
    let a1 = a[(row + 1u) * ROW + k];
    let a2 = a[(row + 2u) * ROW + k];
    let a3 = a[(row + 3u) * ROW + k];
    for (var j = 0u; j < 4u; j++) {
      let b0 = b[(k * 4u + j) * ROW + col];
      let b1 = b[(k * 4u + j) * ROW + col + 1u];
      s00 += a0[j] * b0;
      s01 += a0[j] * b1;
      s10 += a1[j] * b0;
      s11 += a1[j] * b1;
      s20 += a2[j] * b0;
      s21 += a2[j] * b1;
      s30 += a3[j] * b0;
      s31 += a3[j] * b1;
    }
  }
  c[row * ROW + col] = s00;
  c[row * ROW + col + 1u] = s01;
  c[(row + 1u) * ROW + col] = s10;
  c[(row + 1u) * ROW + col + 1u] = s11;
  c[(row + 2u) * ROW + col] = s20;
  c[(row + 2u) * ROW + col + 1u] = s21;
  c[(row + 3u) * ROW + col] = s30;
  c[(row + 3u) * ROW + col + 1u] = s31;
}
