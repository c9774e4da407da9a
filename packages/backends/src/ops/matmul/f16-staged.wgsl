// Operands as they are, f32 of any size: rounded to f16 on the way into workgroup memory, zeros outside the matrix.
// `load_a` and `load_b` are those of a-*.wgsl and b-*.wgsl.
struct Strip {
  v0: vec4f,
  v1: vec4f,
  v2: vec4f,
  v3: vec4f,
  v4: vec4f,
  v5: vec4f,
  v6: vec4f,
  v7: vec4f,
}

const A_VECTORS = A_ROWS * A_COLS / 4u / T;
const B_VECTORS = B_ROWS * B_COLS / 4u / T;
const A_STEP = T / (A_COLS / 4u);
const B_STEP = T / (B_COLS / 4u);

fn a_or_zero(row: u32, col: u32) -> vec4f {
  let rows = select(params.m, params.k, TRANS_A == 1u);
  let cols = select(params.k, params.m, TRANS_A == 1u);
  if (row >= rows || col >= cols) { return vec4f(); }
  return load_a(row * cols + col, cols - col);
}

fn b_or_zero(row: u32, col: u32) -> vec4f {
  let rows = select(params.k, params.n, TRANS_B == 1u);
  let cols = select(params.n, params.k, TRANS_B == 1u);
  if (row >= rows || col >= cols) { return vec4f(); }
  return load_b(row * cols + col, cols - col);
}

fn fetch_a(i0: u32, k0: u32, t: u32) -> Strip {
  let row = select(i0, k0, TRANS_A == 1u) + t / (A_COLS / 4u);
  let col = select(k0, i0, TRANS_A == 1u) + t % (A_COLS / 4u) * 4u;
  var s = Strip();
  s.v0 = a_or_zero(row, col);
  s.v1 = a_or_zero(row + A_STEP, col);
  if (A_VECTORS >= 4u) {
    s.v2 = a_or_zero(row + 2u * A_STEP, col);
    s.v3 = a_or_zero(row + 3u * A_STEP, col);
  }
  if (A_VECTORS == 8u) {
    s.v4 = a_or_zero(row + 4u * A_STEP, col);
    s.v5 = a_or_zero(row + 5u * A_STEP, col);
    s.v6 = a_or_zero(row + 6u * A_STEP, col);
    s.v7 = a_or_zero(row + 7u * A_STEP, col);
  }
  return s;
}

fn fetch_b(j0: u32, k0: u32, t: u32) -> Strip {
  let row = select(k0, j0, TRANS_B == 1u) + t / (B_COLS / 4u);
  let col = select(j0, k0, TRANS_B == 1u) + t % (B_COLS / 4u) * 4u;
  var s = Strip();
  s.v0 = b_or_zero(row, col);
  s.v1 = b_or_zero(row + B_STEP, col);
  if (B_VECTORS >= 4u) {
    s.v2 = b_or_zero(row + 2u * B_STEP, col);
    s.v3 = b_or_zero(row + 3u * B_STEP, col);
  }
  if (B_VECTORS == 8u) {
    s.v4 = b_or_zero(row + 4u * B_STEP, col);
    s.v5 = b_or_zero(row + 5u * B_STEP, col);
    s.v6 = b_or_zero(row + 6u * B_STEP, col);
    s.v7 = b_or_zero(row + 7u * B_STEP, col);
  }
  return s;
}

fn stage_a(s: Strip, t: u32, up: f32) {
  let at = t / (A_COLS / 4u) * A_LD + t % (A_COLS / 4u);
  tile_a[at] = half4(s.v0 * up);
  tile_a[at + A_STEP * A_LD] = half4(s.v1 * up);
  if (A_VECTORS >= 4u) {
    tile_a[at + 2u * A_STEP * A_LD] = half4(s.v2 * up);
    tile_a[at + 3u * A_STEP * A_LD] = half4(s.v3 * up);
  }
  if (A_VECTORS == 8u) {
    tile_a[at + 4u * A_STEP * A_LD] = half4(s.v4 * up);
    tile_a[at + 5u * A_STEP * A_LD] = half4(s.v5 * up);
    tile_a[at + 6u * A_STEP * A_LD] = half4(s.v6 * up);
    tile_a[at + 7u * A_STEP * A_LD] = half4(s.v7 * up);
  }
}

fn stage_b(s: Strip, t: u32) {
  let at = t / (B_COLS / 4u) * B_LD + t % (B_COLS / 4u);
  tile_b[at] = half4(s.v0);
  tile_b[at + B_STEP * B_LD] = half4(s.v1);
  if (B_VECTORS >= 4u) {
    tile_b[at + 2u * B_STEP * B_LD] = half4(s.v2);
    tile_b[at + 3u * B_STEP * B_LD] = half4(s.v3);
  }
  if (B_VECTORS == 8u) {
    tile_b[at + 4u * B_STEP * B_LD] = half4(s.v4);
    tile_b[at + 5u * B_STEP * B_LD] = half4(s.v5);
    tile_b[at + 6u * B_STEP * B_LD] = half4(s.v6);
    tile_b[at + 7u * B_STEP * B_LD] = half4(s.v7);
  }
}
