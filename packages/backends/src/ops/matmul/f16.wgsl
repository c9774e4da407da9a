// Matrix product with f16 operands and f32 sums: subgroups of 32 multiply 16×16×16 matrices. A workgroup of SUBS_M·SUBS_N
// subgroups, TM×TN matrices each, makes BM×BN of out. Operands come from f16-pack.wgsl: panels of 64 rows of a (columns of
// b), in each of them k by k, so that BK k of a tile lie in one piece. They pass through workgroup memory and are fetched a
// step ahead. Every element of out is one chain of additions over ascending runs of 16 k, whatever the tile. Sums and
// fetched vectors are named, because arrays of them cost a tenth or more. What a matrix is says f16-matrices.wgsl, where
// sums begin and end f16-whole.wgsl or f16-edge.wgsl.
const BM = SUBS_M * TM * 16u;
const BN = SUBS_N * TN * 16u;
const T = SUBS_M * SUBS_N * 32u;
// From k to k in vec4s: 8 more than needed, else the rows of a matrix fall on the same banks.
const A_LD = (BM + 8u) / 4u;
const B_LD = (BN + 8u) / 4u;
var<workgroup> tile_a: array<vec4<f16>, BK * A_LD>;
var<workgroup> tile_b: array<vec4<f16>, BK * B_LD>;

@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> b: array<vec4u>;
@group(0) @binding(4) var<storage, read> largest: array<u32>;

// Vectors of 8 f16: of a tile's panel at one k; of a thread, and how many of them are of one panel; k between these.
const A_WIDE = min(BM, 64u) / 8u;
const B_WIDE = min(BN, 64u) / 8u;
const A_VECTORS = BM * BK / 8u / T;
const B_VECTORS = BN * BK / 8u / T;
const A_EACH = A_WIDE * BK / T;
const B_EACH = B_WIDE * BK / T;
const A_STEP = T / A_WIDE;
const B_STEP = T / B_WIDE;

// A thread's first vector of the tile that starts at row or column x0.
fn first_vector(x0: u32, wide: u32, t: u32) -> u32 {
  return (x0 / 64u * params.k_padded + t / wide) * 8u + x0 % 64u / 8u + t % wide;
}

// How far the next panel lies: 0 past the last one (what comes of it is not stored).
fn panel_gap(x0: u32, panels: u32) -> u32 { return select(0u, params.k_padded * 8u, x0 / 64u + 1u < panels); }

fn a_at(n: u32, gap: u32) -> u32 { return n / A_EACH * gap + n % A_EACH * A_STEP * 8u; }
fn b_at(n: u32, gap: u32) -> u32 { return n / B_EACH * gap + n % B_EACH * B_STEP * 8u; }

fn put_a(at: u32, n: u32, v: vec4u) {
  let to = at + n / A_EACH * 16u + n % A_EACH * A_STEP * A_LD;
  tile_a[to] = vec4<f16>(bitcast<vec2<f16>>(v.x), bitcast<vec2<f16>>(v.y));
  tile_a[to + 1u] = vec4<f16>(bitcast<vec2<f16>>(v.z), bitcast<vec2<f16>>(v.w));
}

fn put_b(at: u32, n: u32, v: vec4u) {
  let to = at + n / B_EACH * 16u + n % B_EACH * B_STEP * B_LD;
  tile_b[to] = vec4<f16>(bitcast<vec2<f16>>(v.x), bitcast<vec2<f16>>(v.y));
  tile_b[to + 1u] = vec4<f16>(bitcast<vec2<f16>>(v.z), bitcast<vec2<f16>>(v.w));
}

// group: tile along n and m, run of k; t: invocation of the workgroup; lane: invocation of the subgroup.
fn tile(group: vec3u, t: u32, subgroup: u32, lane: u32) {
  let i0 = (group.y + params.first_y) * BM;
  let j0 = (group.x + params.first_x) * BN;
  let si = subgroup / SUBS_N * TM * 16u;
  let sj = subgroup % SUBS_N * TN * 16u;
  let i = i0 + si;
  let j = j0 + sj;
  out_base = group.z * params.m * params.n;
  var up = 1.0;
  var down = 1.0;
  if (SCALED == 1u) {
    up = scale_up(largest[0]);
    down = scale_down(largest[0]);
  }
  var c00 = Sum();
  var c01 = Sum();
  var c02 = Sum();
  var c03 = Sum();
  var c10 = Sum();
  var c11 = Sum();
  var c12 = Sum();
  var c13 = Sum();
  var c20 = Sum();
  var c21 = Sum();
  var c22 = Sum();
  var c23 = Sum();
  var c30 = Sum();
  var c31 = Sum();
  var c32 = Sum();
  var c33 = Sum();
  if (params.accumulate != 0u) {
    c00 = start(i + 0u, j + 0u, subgroup, lane, up);
    if (TN >= 2u) { c01 = start(i + 0u, j + 16u, subgroup, lane, up); }
    if (TN == 4u) { c02 = start(i + 0u, j + 32u, subgroup, lane, up); }
    if (TN == 4u) { c03 = start(i + 0u, j + 48u, subgroup, lane, up); }
    if (TM >= 2u) { c10 = start(i + 16u, j + 0u, subgroup, lane, up); }
    if (TM >= 2u && TN >= 2u) { c11 = start(i + 16u, j + 16u, subgroup, lane, up); }
    if (TM >= 2u && TN == 4u) { c12 = start(i + 16u, j + 32u, subgroup, lane, up); }
    if (TM >= 2u && TN == 4u) { c13 = start(i + 16u, j + 48u, subgroup, lane, up); }
    if (TM == 4u) { c20 = start(i + 32u, j + 0u, subgroup, lane, up); }
    if (TM == 4u && TN >= 2u) { c21 = start(i + 32u, j + 16u, subgroup, lane, up); }
    if (TM == 4u && TN == 4u) { c22 = start(i + 32u, j + 32u, subgroup, lane, up); }
    if (TM == 4u && TN == 4u) { c23 = start(i + 32u, j + 48u, subgroup, lane, up); }
    if (TM == 4u) { c30 = start(i + 48u, j + 0u, subgroup, lane, up); }
    if (TM == 4u && TN >= 2u) { c31 = start(i + 48u, j + 16u, subgroup, lane, up); }
    if (TM == 4u && TN == 4u) { c32 = start(i + 48u, j + 32u, subgroup, lane, up); }
    if (TM == 4u && TN == 4u) { c33 = start(i + 48u, j + 48u, subgroup, lane, up); }
  }
  let begin = group.z * params.chunk;
  let end = min(params.k_padded, begin + params.chunk);
  let a_gap = panel_gap(i0, params.a_panels);
  let b_gap = panel_gap(j0, params.b_panels);
  let to_a = t / A_WIDE * A_LD + t % A_WIDE * 2u;
  let to_b = t / B_WIDE * B_LD + t % B_WIDE * 2u;
  let from_a = first_vector(i0, A_WIDE, t);
  let from_b = first_vector(j0, B_WIDE, t);
  var at_a = from_a + begin * 8u;
  var at_b = from_b + begin * 8u;
  var a0 = vec4u();
  var a1 = vec4u();
  var a2 = vec4u();
  var a3 = vec4u();
  var a4 = vec4u();
  var a5 = vec4u();
  var a6 = vec4u();
  var a7 = vec4u();
  var b0 = vec4u();
  var b1 = vec4u();
  var b2 = vec4u();
  var b3 = vec4u();
  var b4 = vec4u();
  var b5 = vec4u();
  var b6 = vec4u();
  var b7 = vec4u();
  a0 = a[at_a + a_at(0u, a_gap)];
  if (A_VECTORS >= 2u) { a1 = a[at_a + a_at(1u, a_gap)]; }
  if (A_VECTORS >= 4u) {
    a2 = a[at_a + a_at(2u, a_gap)];
    a3 = a[at_a + a_at(3u, a_gap)];
  }
  if (A_VECTORS == 8u) {
    a4 = a[at_a + a_at(4u, a_gap)];
    a5 = a[at_a + a_at(5u, a_gap)];
    a6 = a[at_a + a_at(6u, a_gap)];
    a7 = a[at_a + a_at(7u, a_gap)];
  }
  b0 = b[at_b + b_at(0u, b_gap)];
  if (B_VECTORS >= 2u) { b1 = b[at_b + b_at(1u, b_gap)]; }
  if (B_VECTORS >= 4u) {
    b2 = b[at_b + b_at(2u, b_gap)];
    b3 = b[at_b + b_at(3u, b_gap)];
  }
  if (B_VECTORS == 8u) {
    b4 = b[at_b + b_at(4u, b_gap)];
    b5 = b[at_b + b_at(5u, b_gap)];
    b6 = b[at_b + b_at(6u, b_gap)];
    b7 = b[at_b + b_at(7u, b_gap)];
  }
  for (var k0 = begin; k0 < end; k0 += BK) {
    workgroupBarrier();
    put_a(to_a, 0u, a0);
    if (A_VECTORS >= 2u) { put_a(to_a, 1u, a1); }
    if (A_VECTORS >= 4u) {
      put_a(to_a, 2u, a2);
      put_a(to_a, 3u, a3);
    }
    if (A_VECTORS == 8u) {
      put_a(to_a, 4u, a4);
      put_a(to_a, 5u, a5);
      put_a(to_a, 6u, a6);
      put_a(to_a, 7u, a7);
    }
    put_b(to_b, 0u, b0);
    if (B_VECTORS >= 2u) { put_b(to_b, 1u, b1); }
    if (B_VECTORS >= 4u) {
      put_b(to_b, 2u, b2);
      put_b(to_b, 3u, b3);
    }
    if (B_VECTORS == 8u) {
      put_b(to_b, 4u, b4);
      put_b(to_b, 5u, b5);
      put_b(to_b, 6u, b6);
      put_b(to_b, 7u, b7);
    }
    workgroupBarrier();
    // The last tile is fetched again at the end: cheaper than a branch.
    let k1 = min(k0 + BK, end - BK);
    at_a = from_a + k1 * 8u;
    at_b = from_b + k1 * 8u;
    a0 = a[at_a + a_at(0u, a_gap)];
    if (A_VECTORS >= 2u) { a1 = a[at_a + a_at(1u, a_gap)]; }
    if (A_VECTORS >= 4u) {
      a2 = a[at_a + a_at(2u, a_gap)];
      a3 = a[at_a + a_at(3u, a_gap)];
    }
    if (A_VECTORS == 8u) {
      a4 = a[at_a + a_at(4u, a_gap)];
      a5 = a[at_a + a_at(5u, a_gap)];
      a6 = a[at_a + a_at(6u, a_gap)];
      a7 = a[at_a + a_at(7u, a_gap)];
    }
    b0 = b[at_b + b_at(0u, b_gap)];
    if (B_VECTORS >= 2u) { b1 = b[at_b + b_at(1u, b_gap)]; }
    if (B_VECTORS >= 4u) {
      b2 = b[at_b + b_at(2u, b_gap)];
      b3 = b[at_b + b_at(3u, b_gap)];
    }
    if (B_VECTORS == 8u) {
      b4 = b[at_b + b_at(4u, b_gap)];
      b5 = b[at_b + b_at(5u, b_gap)];
      b6 = b[at_b + b_at(6u, b_gap)];
      b7 = b[at_b + b_at(7u, b_gap)];
    }
    for (var k = 0u; k < BK; k += 16u) {
      let l0 = left(si, k);
      var l1: Left;
      var l2: Left;
      var l3: Left;
      if (TM >= 2u) { l1 = left(si + 16u, k); }
      if (TM == 4u) {
        l2 = left(si + 32u, k);
        l3 = left(si + 48u, k);
      }
      let r0 = right(k, sj);
      c00 = multiply(l0, r0, c00);
      if (TM >= 2u) { c10 = multiply(l1, r0, c10); }
      if (TM == 4u) {
        c20 = multiply(l2, r0, c20);
        c30 = multiply(l3, r0, c30);
      }
      if (TN >= 2u) {
        let r1 = right(k, sj + 16u);
        c01 = multiply(l0, r1, c01);
        if (TM >= 2u) { c11 = multiply(l1, r1, c11); }
        if (TM == 4u) {
          c21 = multiply(l2, r1, c21);
          c31 = multiply(l3, r1, c31);
        }
      }
      if (TN == 4u) {
        let r2 = right(k, sj + 32u);
        c02 = multiply(l0, r2, c02);
        if (TM >= 2u) { c12 = multiply(l1, r2, c12); }
        if (TM == 4u) {
          c22 = multiply(l2, r2, c22);
          c32 = multiply(l3, r2, c32);
        }
      }
      if (TN == 4u) {
        let r3 = right(k, sj + 48u);
        c03 = multiply(l0, r3, c03);
        if (TM >= 2u) { c13 = multiply(l1, r3, c13); }
        if (TM == 4u) {
          c23 = multiply(l2, r3, c23);
          c33 = multiply(l3, r3, c33);
        }
      }
    }
  }
  put(c00, i + 0u, j + 0u, subgroup, lane, down);
  if (TN >= 2u) { put(c01, i + 0u, j + 16u, subgroup, lane, down); }
  if (TN == 4u) { put(c02, i + 0u, j + 32u, subgroup, lane, down); }
  if (TN == 4u) { put(c03, i + 0u, j + 48u, subgroup, lane, down); }
  if (TM >= 2u) { put(c10, i + 16u, j + 0u, subgroup, lane, down); }
  if (TM >= 2u && TN >= 2u) { put(c11, i + 16u, j + 16u, subgroup, lane, down); }
  if (TM >= 2u && TN == 4u) { put(c12, i + 16u, j + 32u, subgroup, lane, down); }
  if (TM >= 2u && TN == 4u) { put(c13, i + 16u, j + 48u, subgroup, lane, down); }
  if (TM == 4u) { put(c20, i + 32u, j + 0u, subgroup, lane, down); }
  if (TM == 4u && TN >= 2u) { put(c21, i + 32u, j + 16u, subgroup, lane, down); }
  if (TM == 4u && TN == 4u) { put(c22, i + 32u, j + 32u, subgroup, lane, down); }
  if (TM == 4u && TN == 4u) { put(c23, i + 32u, j + 48u, subgroup, lane, down); }
  if (TM == 4u) { put(c30, i + 48u, j + 0u, subgroup, lane, down); }
  if (TM == 4u && TN >= 2u) { put(c31, i + 48u, j + 16u, subgroup, lane, down); }
  if (TM == 4u && TN == 4u) { put(c32, i + 48u, j + 32u, subgroup, lane, down); }
  if (TM == 4u && TN == 4u) { put(c33, i + 48u, j + 48u, subgroup, lane, down); }
}
