// aᵀ·b, the gradient of a Linear's weight: a [k, m] and b [k, n] are both read along their rows, one k at a time.
// Rows and columns beyond the matrix are clamped; their sums are not stored.
fn accumulate_tile(i0: u32, j0: u32) {
  let m = params.m;
  let i1 = min(i0 + 4u, (m - 1u) & ~3u);
  for (var k = 0u; k < params.k; k++) {
    let a0 = load_a(k * m + i0, m - i0);
    var a1 = vec4f();
    if (ROWS == 8u) { a1 = load_a(k * m + i1, m - i1); }
    row_step(k * params.n, j0, a0, a1);
  }
}

// One k: `row` is where its row of b starts.
fn row_step(row: u32, j0: u32, a0: vec4f, a1: vec4f) {
  let n = params.n;
  let last = (n - 1u) & ~3u;
  let j1 = min(j0 + 4u, last);
  let j2 = min(j0 + 8u, last);
  let j3 = min(j0 + 12u, last);
  var b2 = vec4f();
  var b3 = vec4f();
  if (COLS == 4u) {
    b2 = load_b(row + j2, n - j2);
    b3 = load_b(row + j3, n - j3);
  }
  step(a0, a1, load_b(row + j0, n - j0), load_b(row + j1, n - j1), b2, b3);
}
