// Matrix product with f16 operands and f32 sums: subgroups of 32 multiply 16×16×16 matrices. A workgroup of SUBS_M·SUBS_N
// subgroups, TM×TN matrices each, makes BM×BN of out. Operands come from f16-pack.wgsl: panels of 16 rows of a (columns of
// b), in each of them k by k, so that BK k of a panel lie in one piece. They pass through workgroup memory and are fetched a
// step ahead. A_INNER, B_INNER: k counts panels instead of what they hold, so that rows of 16 k lie in one piece; the same
// panels of a matrix thus serve all of its products. STRIDE_A, STRIDE_B: constants of large models, or 0.
// Every element of out is one chain of additions over ascending runs of 16 k, whatever the tile. Sums and
// fetched vectors are named, because arrays of them cost a tenth or more. What a matrix is says f16-matrices.wgsl, where
// sums begin and end f16-whole.wgsl or f16-edge.wgsl.
const BM = SUBS_M * TM * 16u;
const BN = SUBS_N * TN * 16u;
const T = SUBS_M * SUBS_N * 32u;
// Blocks of 16×16 lie in pieces of workgroup memory whose rows of 16 are 24 long: rows of 48 bytes fall on all banks.
const LD = 6u;
var<workgroup> tile_a: array<vec4<f16>, BK * BM / 16u * LD>;
var<workgroup> tile_b: array<vec4<f16>, BK * BN / 16u * LD>;

@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> b: array<vec4u>;
@group(0) @binding(4) var<storage, read> largest: array<u32>;

// Vectors of 8 f16 of a thread, T vectors from one to the next. A piece is what lies in one piece in storage, too.
const A_VECTORS = BM * BK / 8u / T;
const B_VECTORS = BN * BK / 8u / T;
const A_PIECE = 2u * select(BK, BM, A_INNER == 1u);
const B_PIECE = 2u * select(BK, BN, B_INNER == 1u);

// From panel to panel in storage, in vectors.
fn a_stride() -> u32 { return select(params.stride_a, STRIDE_A, STRIDE_A > 0u); }
fn b_stride() -> u32 { return select(params.stride_b, STRIDE_B, STRIDE_B > 0u); }

// Where the n-th vector of a thread is: in storage, from its first, and in workgroup memory, in vec4s.
fn a_at(n: u32) -> u32 { return n * T / A_PIECE * a_stride() + n * T % A_PIECE; }
fn b_at(n: u32) -> u32 { return n * T / B_PIECE * b_stride() + n * T % B_PIECE; }
fn tile_at(n: u32) -> u32 { return n * T / 2u * LD; }
// The row of 16 of a thread's first vector: rows are handed out by twos, because neighbours share banks.
fn row_of(t: u32) -> u32 { return t / 16u * 8u + t / 2u % 4u * 2u + t / 8u % 2u; }

fn put_a(at: u32, n: u32, v: vec4u) {
  let to = at + tile_at(n);
  tile_a[to] = vec4<f16>(bitcast<vec2<f16>>(v.x), bitcast<vec2<f16>>(v.y));
  tile_a[to + 1u] = vec4<f16>(bitcast<vec2<f16>>(v.z), bitcast<vec2<f16>>(v.w));
}

fn put_b(at: u32, n: u32, v: vec4u) {
  let to = at + tile_at(n);
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
  if (params.start != 0u) {
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
  // The t-th vector, as put_a and put_b place it.
  let vector = row_of(t) * 2u + t % 2u;
  let to = row_of(t) * LD + t % 2u * 2u;
  let from_a = select(i0 / 16u * a_stride(), i0 * 2u, A_INNER == 1u) + vector / A_PIECE * a_stride() + vector % A_PIECE;
  let from_b = select(j0 / 16u * b_stride(), j0 * 2u, B_INNER == 1u) + vector / B_PIECE * b_stride() + vector % B_PIECE;
  // From k to k of a step, in vectors.
  let step_a = select(2u, a_stride() / 16u, A_INNER == 1u);
  let step_b = select(2u, b_stride() / 16u, B_INNER == 1u);
  var at_a = from_a + begin * step_a;
  var at_b = from_b + begin * step_b;
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
  a0 = a[at_a + a_at(0u)];
  if (A_VECTORS >= 2u) { a1 = a[at_a + a_at(1u)]; }
  if (A_VECTORS >= 4u) {
    a2 = a[at_a + a_at(2u)];
    a3 = a[at_a + a_at(3u)];
  }
  if (A_VECTORS == 8u) {
    a4 = a[at_a + a_at(4u)];
    a5 = a[at_a + a_at(5u)];
    a6 = a[at_a + a_at(6u)];
    a7 = a[at_a + a_at(7u)];
  }
  b0 = b[at_b + b_at(0u)];
  if (B_VECTORS >= 2u) { b1 = b[at_b + b_at(1u)]; }
  if (B_VECTORS >= 4u) {
    b2 = b[at_b + b_at(2u)];
    b3 = b[at_b + b_at(3u)];
  }
  if (B_VECTORS == 8u) {
    b4 = b[at_b + b_at(4u)];
    b5 = b[at_b + b_at(5u)];
    b6 = b[at_b + b_at(6u)];
    b7 = b[at_b + b_at(7u)];
  }
  for (var k0 = begin; k0 < end; k0 += BK) {
    workgroupBarrier();
    put_a(to, 0u, a0);
    if (A_VECTORS >= 2u) { put_a(to, 1u, a1); }
    if (A_VECTORS >= 4u) {
      put_a(to, 2u, a2);
      put_a(to, 3u, a3);
    }
    if (A_VECTORS == 8u) {
      put_a(to, 4u, a4);
      put_a(to, 5u, a5);
      put_a(to, 6u, a6);
      put_a(to, 7u, a7);
    }
    put_b(to, 0u, b0);
    if (B_VECTORS >= 2u) { put_b(to, 1u, b1); }
    if (B_VECTORS >= 4u) {
      put_b(to, 2u, b2);
      put_b(to, 3u, b3);
    }
    if (B_VECTORS == 8u) {
      put_b(to, 4u, b4);
      put_b(to, 5u, b5);
      put_b(to, 6u, b6);
      put_b(to, 7u, b7);
    }
    workgroupBarrier();
    // The last tile is fetched again at the end: cheaper than a branch.
    let k1 = min(k0 + BK, end - BK);
    at_a = from_a + k1 * step_a;
    at_b = from_b + k1 * step_b;
    a0 = a[at_a + a_at(0u)];
    if (A_VECTORS >= 2u) { a1 = a[at_a + a_at(1u)]; }
    if (A_VECTORS >= 4u) {
      a2 = a[at_a + a_at(2u)];
      a3 = a[at_a + a_at(3u)];
    }
    if (A_VECTORS == 8u) {
      a4 = a[at_a + a_at(4u)];
      a5 = a[at_a + a_at(5u)];
      a6 = a[at_a + a_at(6u)];
      a7 = a[at_a + a_at(7u)];
    }
    b0 = b[at_b + b_at(0u)];
    if (B_VECTORS >= 2u) { b1 = b[at_b + b_at(1u)]; }
    if (B_VECTORS >= 4u) {
      b2 = b[at_b + b_at(2u)];
      b3 = b[at_b + b_at(3u)];
    }
    if (B_VECTORS == 8u) {
      b4 = b[at_b + b_at(4u)];
      b5 = b[at_b + b_at(5u)];
      b6 = b[at_b + b_at(6u)];
      b7 = b[at_b + b_at(7u)];
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
