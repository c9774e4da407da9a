// The register tile of every fast matmul kernel: ROWS (4 or 8) rows by COLS (2 or 4) vec4 columns of out, in named
// variables because arrays end up in memory. `step` adds one k: every element is one fma chain over ascending k, the
// same in all kernels, so their results are bit-equal. `store_tile` hands rows to out-*.wgsl's `store`.
var<private> c00: vec4f;
var<private> c01: vec4f;
var<private> c02: vec4f;
var<private> c03: vec4f;
var<private> c10: vec4f;
var<private> c11: vec4f;
var<private> c12: vec4f;
var<private> c13: vec4f;
var<private> c20: vec4f;
var<private> c21: vec4f;
var<private> c22: vec4f;
var<private> c23: vec4f;
var<private> c30: vec4f;
var<private> c31: vec4f;
var<private> c32: vec4f;
var<private> c33: vec4f;
var<private> c40: vec4f;
var<private> c41: vec4f;
var<private> c42: vec4f;
var<private> c43: vec4f;
var<private> c50: vec4f;
var<private> c51: vec4f;
var<private> c52: vec4f;
var<private> c53: vec4f;
var<private> c60: vec4f;
var<private> c61: vec4f;
var<private> c62: vec4f;
var<private> c63: vec4f;
var<private> c70: vec4f;
var<private> c71: vec4f;
var<private> c72: vec4f;
var<private> c73: vec4f;

fn step(a0: vec4f, a1: vec4f, b0: vec4f, b1: vec4f, b2: vec4f, b3: vec4f) {
  c00 = fma(vec4f(a0.x), b0, c00);
  c01 = fma(vec4f(a0.x), b1, c01);
  c10 = fma(vec4f(a0.y), b0, c10);
  c11 = fma(vec4f(a0.y), b1, c11);
  c20 = fma(vec4f(a0.z), b0, c20);
  c21 = fma(vec4f(a0.z), b1, c21);
  c30 = fma(vec4f(a0.w), b0, c30);
  c31 = fma(vec4f(a0.w), b1, c31);
  if (COLS == 4u) {
    c02 = fma(vec4f(a0.x), b2, c02);
    c03 = fma(vec4f(a0.x), b3, c03);
    c12 = fma(vec4f(a0.y), b2, c12);
    c13 = fma(vec4f(a0.y), b3, c13);
    c22 = fma(vec4f(a0.z), b2, c22);
    c23 = fma(vec4f(a0.z), b3, c23);
    c32 = fma(vec4f(a0.w), b2, c32);
    c33 = fma(vec4f(a0.w), b3, c33);
  }
  if (ROWS == 8u) {
    c40 = fma(vec4f(a1.x), b0, c40);
    c41 = fma(vec4f(a1.x), b1, c41);
    c50 = fma(vec4f(a1.y), b0, c50);
    c51 = fma(vec4f(a1.y), b1, c51);
    c60 = fma(vec4f(a1.z), b0, c60);
    c61 = fma(vec4f(a1.z), b1, c61);
    c70 = fma(vec4f(a1.w), b0, c70);
    c71 = fma(vec4f(a1.w), b1, c71);
  }
  if (ROWS == 8u && COLS == 4u) {
    c42 = fma(vec4f(a1.x), b2, c42);
    c43 = fma(vec4f(a1.x), b3, c43);
    c52 = fma(vec4f(a1.y), b2, c52);
    c53 = fma(vec4f(a1.y), b3, c53);
    c62 = fma(vec4f(a1.z), b2, c62);
    c63 = fma(vec4f(a1.z), b3, c63);
    c72 = fma(vec4f(a1.w), b2, c72);
    c73 = fma(vec4f(a1.w), b3, c73);
  }
}

// i0: first row, j0: first column (a multiple of 4); the vec4 columns lie COL_GAP elements apart.
fn store_tile(i0: u32, j0: u32) {
  store(i0 + 0u, j0 + 0u * COL_GAP, c00);
  store(i0 + 0u, j0 + 1u * COL_GAP, c01);
  store(i0 + 1u, j0 + 0u * COL_GAP, c10);
  store(i0 + 1u, j0 + 1u * COL_GAP, c11);
  store(i0 + 2u, j0 + 0u * COL_GAP, c20);
  store(i0 + 2u, j0 + 1u * COL_GAP, c21);
  store(i0 + 3u, j0 + 0u * COL_GAP, c30);
  store(i0 + 3u, j0 + 1u * COL_GAP, c31);
  if (COLS == 4u) {
    store(i0 + 0u, j0 + 2u * COL_GAP, c02);
    store(i0 + 0u, j0 + 3u * COL_GAP, c03);
    store(i0 + 1u, j0 + 2u * COL_GAP, c12);
    store(i0 + 1u, j0 + 3u * COL_GAP, c13);
    store(i0 + 2u, j0 + 2u * COL_GAP, c22);
    store(i0 + 2u, j0 + 3u * COL_GAP, c23);
    store(i0 + 3u, j0 + 2u * COL_GAP, c32);
    store(i0 + 3u, j0 + 3u * COL_GAP, c33);
  }
  if (ROWS == 8u) {
    store(i0 + 4u, j0 + 0u * COL_GAP, c40);
    store(i0 + 4u, j0 + 1u * COL_GAP, c41);
    store(i0 + 5u, j0 + 0u * COL_GAP, c50);
    store(i0 + 5u, j0 + 1u * COL_GAP, c51);
    store(i0 + 6u, j0 + 0u * COL_GAP, c60);
    store(i0 + 6u, j0 + 1u * COL_GAP, c61);
    store(i0 + 7u, j0 + 0u * COL_GAP, c70);
    store(i0 + 7u, j0 + 1u * COL_GAP, c71);
  }
  if (ROWS == 8u && COLS == 4u) {
    store(i0 + 4u, j0 + 2u * COL_GAP, c42);
    store(i0 + 4u, j0 + 3u * COL_GAP, c43);
    store(i0 + 5u, j0 + 2u * COL_GAP, c52);
    store(i0 + 5u, j0 + 3u * COL_GAP, c53);
    store(i0 + 6u, j0 + 2u * COL_GAP, c62);
    store(i0 + 6u, j0 + 3u * COL_GAP, c63);
    store(i0 + 7u, j0 + 2u * COL_GAP, c72);
    store(i0 + 7u, j0 + 3u * COL_GAP, c73);
  }
}
