// a·b, the gradient of a Linear's input: a [m, k] is read four k at a time, b [k, n] four columns at a time.
// Rows and columns beyond the matrix are clamped; their sums are not stored, and past k the factors from a are 0.
fn accumulate_tile(i0: u32, j0: u32) {
  let a0 = min(i0 + 0u, params.m - 1u) * params.k;
  let a1 = min(i0 + 1u, params.m - 1u) * params.k;
  let a2 = min(i0 + 2u, params.m - 1u) * params.k;
  let a3 = min(i0 + 3u, params.m - 1u) * params.k;
  let a4 = min(i0 + 4u, params.m - 1u) * params.k;
  let a5 = min(i0 + 5u, params.m - 1u) * params.k;
  let a6 = min(i0 + 6u, params.m - 1u) * params.k;
  let a7 = min(i0 + 7u, params.m - 1u) * params.k;
  for (var k = 0u; k < params.k; k += 4u) {
    let left = params.k - k;
    let r0 = load_a(a0 + k, left);
    let r1 = load_a(a1 + k, left);
    let r2 = load_a(a2 + k, left);
    let r3 = load_a(a3 + k, left);
    var r4 = vec4f();
    var r5 = vec4f();
    var r6 = vec4f();
    var r7 = vec4f();
    if (ROWS == 8u) {
      r4 = load_a(a4 + k, left);
      r5 = load_a(a5 + k, left);
      r6 = load_a(a6 + k, left);
      r7 = load_a(a7 + k, left);
    }
    row_step(
      min(k + 0u, params.k - 1u) * params.n, j0,
      vec4f(r0.x, r1.x, r2.x, r3.x),
      vec4f(r4.x, r5.x, r6.x, r7.x),
    );
    row_step(
      min(k + 1u, params.k - 1u) * params.n, j0,
      vec4f(r0.y, r1.y, r2.y, r3.y),
      vec4f(r4.y, r5.y, r6.y, r7.y),
    );
    row_step(
      min(k + 2u, params.k - 1u) * params.n, j0,
      vec4f(r0.z, r1.z, r2.z, r3.z),
      vec4f(r4.z, r5.z, r6.z, r7.z),
    );
    row_step(
      min(k + 3u, params.k - 1u) * params.n, j0,
      vec4f(r0.w, r1.w, r2.w, r3.w),
      vec4f(r4.w, r5.w, r6.w, r7.w),
    );
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
