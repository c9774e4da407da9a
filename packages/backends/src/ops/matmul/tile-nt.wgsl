// a·bᵀ, the forward of a Linear: a [m, k] and b [n, k] are both read four k at a time and transposed in registers.
// Rows beyond the matrix are clamped to the last one; their sums are not stored.
fn accumulate_tile(i0: u32, j0: u32) {
  let a0 = min(i0 + 0u, params.m - 1u) * params.k;
  let a1 = min(i0 + 1u, params.m - 1u) * params.k;
  let a2 = min(i0 + 2u, params.m - 1u) * params.k;
  let a3 = min(i0 + 3u, params.m - 1u) * params.k;
  let a4 = min(i0 + 4u, params.m - 1u) * params.k;
  let a5 = min(i0 + 5u, params.m - 1u) * params.k;
  let a6 = min(i0 + 6u, params.m - 1u) * params.k;
  let a7 = min(i0 + 7u, params.m - 1u) * params.k;
  let b0 = min(j0 + 0u, params.n - 1u) * params.k;
  let b1 = min(j0 + 1u, params.n - 1u) * params.k;
  let b2 = min(j0 + 2u, params.n - 1u) * params.k;
  let b3 = min(j0 + 3u, params.n - 1u) * params.k;
  let b4 = min(j0 + 4u, params.n - 1u) * params.k;
  let b5 = min(j0 + 5u, params.n - 1u) * params.k;
  let b6 = min(j0 + 6u, params.n - 1u) * params.k;
  let b7 = min(j0 + 7u, params.n - 1u) * params.k;
  let b8 = min(j0 + 8u, params.n - 1u) * params.k;
  let b9 = min(j0 + 9u, params.n - 1u) * params.k;
  let b10 = min(j0 + 10u, params.n - 1u) * params.k;
  let b11 = min(j0 + 11u, params.n - 1u) * params.k;
  let b12 = min(j0 + 12u, params.n - 1u) * params.k;
  let b13 = min(j0 + 13u, params.n - 1u) * params.k;
  let b14 = min(j0 + 14u, params.n - 1u) * params.k;
  let b15 = min(j0 + 15u, params.n - 1u) * params.k;
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
    let s0 = load_b(b0 + k, left);
    let s1 = load_b(b1 + k, left);
    let s2 = load_b(b2 + k, left);
    let s3 = load_b(b3 + k, left);
    let s4 = load_b(b4 + k, left);
    let s5 = load_b(b5 + k, left);
    let s6 = load_b(b6 + k, left);
    let s7 = load_b(b7 + k, left);
    var s8 = vec4f();
    var s9 = vec4f();
    var s10 = vec4f();
    var s11 = vec4f();
    var s12 = vec4f();
    var s13 = vec4f();
    var s14 = vec4f();
    var s15 = vec4f();
    if (COLS == 4u) {
      s8 = load_b(b8 + k, left);
      s9 = load_b(b9 + k, left);
      s10 = load_b(b10 + k, left);
      s11 = load_b(b11 + k, left);
      s12 = load_b(b12 + k, left);
      s13 = load_b(b13 + k, left);
      s14 = load_b(b14 + k, left);
      s15 = load_b(b15 + k, left);
    }
    step(
      vec4f(r0.x, r1.x, r2.x, r3.x),
      vec4f(r4.x, r5.x, r6.x, r7.x),
      vec4f(s0.x, s1.x, s2.x, s3.x),
      vec4f(s4.x, s5.x, s6.x, s7.x),
      vec4f(s8.x, s9.x, s10.x, s11.x),
      vec4f(s12.x, s13.x, s14.x, s15.x),
    );
    step(
      vec4f(r0.y, r1.y, r2.y, r3.y),
      vec4f(r4.y, r5.y, r6.y, r7.y),
      vec4f(s0.y, s1.y, s2.y, s3.y),
      vec4f(s4.y, s5.y, s6.y, s7.y),
      vec4f(s8.y, s9.y, s10.y, s11.y),
      vec4f(s12.y, s13.y, s14.y, s15.y),
    );
    step(
      vec4f(r0.z, r1.z, r2.z, r3.z),
      vec4f(r4.z, r5.z, r6.z, r7.z),
      vec4f(s0.z, s1.z, s2.z, s3.z),
      vec4f(s4.z, s5.z, s6.z, s7.z),
      vec4f(s8.z, s9.z, s10.z, s11.z),
      vec4f(s12.z, s13.z, s14.z, s15.z),
    );
    step(
      vec4f(r0.w, r1.w, r2.w, r3.w),
      vec4f(r4.w, r5.w, r6.w, r7.w),
      vec4f(s0.w, s1.w, s2.w, s3.w),
      vec4f(s4.w, s5.w, s6.w, s7.w),
      vec4f(s8.w, s9.w, s10.w, s11.w),
      vec4f(s12.w, s13.w, s14.w, s15.w),
    );
  }
}
