// Matrix product with f16 operands and f32 sums: subgroups of 32 multiply 16×16×16 matrices. A workgroup of SUBS_M·SUBS_N
// subgroups, TM×TN matrices each, makes BM×BN of out. Operands come from f16-pack-*.wgsl: panels of 64 rows of a (columns
// of b), in each of them k by k, so that BK k of a tile lie in one piece. They pass through workgroup memory and are
// fetched DEPTH steps ahead. Every element of out is one chain of additions over ascending runs of 16 k, whatever the
// tile. Sums are named, because arrays of matrices cost a tenth. The entry point and what a matrix is are in
// f16-matrices.wgsl.
const BM = SUBS_M * TM * 16u;
const BN = SUBS_N * TN * 16u;
const T = SUBS_M * SUBS_N * 32u;
// From k to k in vec4s: 8 more than needed, else the rows of a matrix fall on the same banks.
const A_LD = (BM + 8u) / 4u;
const B_LD = (BN + 8u) / 4u;
var<workgroup> tile_a: array<vec4<f16>, BK * A_LD>;
var<workgroup> tile_b: array<vec4<f16>, BK * B_LD>;
// A row of matrices a subgroup, on the way to out.
const PATCH_LD = TN * 16u + 4u;
var<workgroup> patches: array<f32, SUBS_M * SUBS_N * 16u * PATCH_LD>;

@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> b: array<vec4u>;
@group(0) @binding(4) var<storage, read> largest: array<u32>;

// A thread's share of a tile: vectors of 8 f16.
struct Strip {
  v0: vec4u,
  v1: vec4u,
  v2: vec4u,
  v3: vec4u,
  v4: vec4u,
  v5: vec4u,
  v6: vec4u,
  v7: vec4u,
}

// Vectors of a tile's panel at one k; vectors of a thread, and how many of them are of one panel; k between them.
const A_WIDE = min(BM, 64u) / 8u;
const B_WIDE = min(BN, 64u) / 8u;
const A_VECTORS = BM * BK / 8u / T;
const B_VECTORS = BN * BK / 8u / T;
const A_EACH = A_WIDE * BK / T;
const B_EACH = B_WIDE * BK / T;
const A_STEP = T / A_WIDE;
const B_STEP = T / B_WIDE;

// Where a thread's first vector is, and how far the next panel lies (0 past the last one: what comes of it is not stored).
fn first_vector(x0: u32, panels: u32, wide: u32, t: u32) -> u32 {
  return ((x0 / 64u) * params.k_padded + t / wide) * 8u + x0 % 64u / 8u + t % wide;
}

fn panel_gap(x0: u32, panels: u32) -> u32 {
  return select(0u, params.k_padded * 8u, x0 / 64u + 1u < panels);
}

fn fetch_a(at: u32, gap: u32) -> Strip {
  var s = Strip();
  s.v0 = a[at];
  if (A_VECTORS >= 2u) { s.v1 = a[at + 1u / A_EACH * gap + 1u % A_EACH * A_STEP * 8u]; }
  if (A_VECTORS >= 4u) {
    s.v2 = a[at + 2u / A_EACH * gap + 2u % A_EACH * A_STEP * 8u];
    s.v3 = a[at + 3u / A_EACH * gap + 3u % A_EACH * A_STEP * 8u];
  }
  if (A_VECTORS == 8u) {
    s.v4 = a[at + 4u / A_EACH * gap + 4u % A_EACH * A_STEP * 8u];
    s.v5 = a[at + 5u / A_EACH * gap + 5u % A_EACH * A_STEP * 8u];
    s.v6 = a[at + 6u / A_EACH * gap + 6u % A_EACH * A_STEP * 8u];
    s.v7 = a[at + 7u / A_EACH * gap + 7u % A_EACH * A_STEP * 8u];
  }
  return s;
}

fn fetch_b(at: u32, gap: u32) -> Strip {
  var s = Strip();
  s.v0 = b[at];
  if (B_VECTORS >= 2u) { s.v1 = b[at + 1u / B_EACH * gap + 1u % B_EACH * B_STEP * 8u]; }
  if (B_VECTORS >= 4u) {
    s.v2 = b[at + 2u / B_EACH * gap + 2u % B_EACH * B_STEP * 8u];
    s.v3 = b[at + 3u / B_EACH * gap + 3u % B_EACH * B_STEP * 8u];
  }
  if (B_VECTORS == 8u) {
    s.v4 = b[at + 4u / B_EACH * gap + 4u % B_EACH * B_STEP * 8u];
    s.v5 = b[at + 5u / B_EACH * gap + 5u % B_EACH * B_STEP * 8u];
    s.v6 = b[at + 6u / B_EACH * gap + 6u % B_EACH * B_STEP * 8u];
    s.v7 = b[at + 7u / B_EACH * gap + 7u % B_EACH * B_STEP * 8u];
  }
  return s;
}

fn low4(v: vec4u) -> vec4<f16> { return vec4<f16>(bitcast<vec2<f16>>(v.x), bitcast<vec2<f16>>(v.y)); }
fn high4(v: vec4u) -> vec4<f16> { return vec4<f16>(bitcast<vec2<f16>>(v.z), bitcast<vec2<f16>>(v.w)); }

fn put_a(at: u32, n: u32, v: vec4u) {
  let to = at + n / A_EACH * 16u + n % A_EACH * A_STEP * A_LD;
  tile_a[to] = low4(v);
  tile_a[to + 1u] = high4(v);
}

fn put_b(at: u32, n: u32, v: vec4u) {
  let to = at + n / B_EACH * 16u + n % B_EACH * B_STEP * B_LD;
  tile_b[to] = low4(v);
  tile_b[to + 1u] = high4(v);
}

fn stage_a(s: Strip, t: u32) {
  let at = t / A_WIDE * A_LD + t % A_WIDE * 2u;
  put_a(at, 0u, s.v0);
  if (A_VECTORS >= 2u) { put_a(at, 1u, s.v1); }
  if (A_VECTORS >= 4u) {
    put_a(at, 2u, s.v2);
    put_a(at, 3u, s.v3);
  }
  if (A_VECTORS == 8u) {
    put_a(at, 4u, s.v4);
    put_a(at, 5u, s.v5);
    put_a(at, 6u, s.v6);
    put_a(at, 7u, s.v7);
  }
}

fn stage_b(s: Strip, t: u32) {
  let at = t / B_WIDE * B_LD + t % B_WIDE * 2u;
  put_b(at, 0u, s.v0);
  if (B_VECTORS >= 2u) { put_b(at, 1u, s.v1); }
  if (B_VECTORS >= 4u) {
    put_b(at, 2u, s.v2);
    put_b(at, 3u, s.v3);
  }
  if (B_VECTORS == 8u) {
    put_b(at, 4u, s.v4);
    put_b(at, 5u, s.v5);
    put_b(at, 6u, s.v6);
    put_b(at, 7u, s.v7);
  }
}

// A patch to rows i …, columns j … of out.
fn put_patch(i: u32, j: u32, subgroup: u32, lane: u32, down: f32) {
  for (var id = lane; id < 64u * TN; id += 32u) {
    let r = id / (4u * TN);
    let c = id % (4u * TN) * 4u;
    let at = subgroup * 16u * PATCH_LD + r * PATCH_LD + c;
    store(i + r, j + c, vec4f(patches[at], patches[at + 1u], patches[at + 2u], patches[at + 3u]) * down);
  }
}

// TN matrices of 16 rows from row i, column j on. `whole`: nothing is past the edge, nothing to add.
fn put_row(whole: bool, s0: Sum, s1: Sum, s2: Sum, s3: Sum, i: u32, j: u32, subgroup: u32, lane: u32, down: f32) {
  if (whole) {
    store_sum(s0, i, j, lane, down);
    if (TN >= 2u) { store_sum(s1, i, j + 16u, lane, down); }
    if (TN == 4u) {
      store_sum(s2, i, j + 32u, lane, down);
      store_sum(s3, i, j + 48u, lane, down);
    }
    return;
  }
  let base = subgroup * 16u * PATCH_LD;
  workgroupBarrier();
  spill(s0, base);
  if (TN >= 2u) { spill(s1, base + 16u); }
  if (TN == 4u) {
    spill(s2, base + 32u);
    spill(s3, base + 48u);
  }
  workgroupBarrier();
  put_patch(i, j, subgroup, lane, down);
}

// group: tile along n and m, run of k; t: invocation of the workgroup; lane: invocation of the subgroup.
fn tile(group: vec3u, t: u32, subgroup: u32, lane: u32) {
  let i0 = group.y * BM;
  let j0 = group.x * BN;
  let si = subgroup / SUBS_N * TM * 16u;
  let sj = subgroup % SUBS_N * TN * 16u;
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
  let begin = group.z * params.chunk;
  let end = min(params.k_padded, begin + params.chunk);
  let a_gap = panel_gap(i0, params.a_panels);
  let b_gap = panel_gap(j0, params.b_panels);
  let a_at = first_vector(i0, params.a_panels, A_WIDE, t);
  let b_at = first_vector(j0, params.b_panels, B_WIDE, t);
  let last = end - BK;
  var next_a = fetch_a(a_at + begin * 8u, a_gap);
  var next_b = fetch_b(b_at + begin * 8u, b_gap);
  var after_a = next_a;
  var after_b = next_b;
  if (DEPTH == 2u) {
    let k1 = min(begin + BK, last);
    after_a = fetch_a(a_at + k1 * 8u, a_gap);
    after_b = fetch_b(b_at + k1 * 8u, b_gap);
  }
  for (var k0 = begin; k0 < end; k0 += BK) {
    workgroupBarrier();
    stage_a(next_a, t);
    stage_b(next_b, t);
    workgroupBarrier();
    // The last tile is fetched again at the end: cheaper than a branch.
    let k1 = min(k0 + DEPTH * BK, last);
    if (DEPTH == 2u) {
      next_a = after_a;
      next_b = after_b;
      after_a = fetch_a(a_at + k1 * 8u, a_gap);
      after_b = fetch_b(b_at + k1 * 8u, b_gap);
    } else {
      next_a = fetch_a(a_at + k1 * 8u, a_gap);
      next_b = fetch_b(b_at + k1 * 8u, b_gap);
    }
    for (var k = 0u; k < BK; k += 16u) {
      let a0 = left(si, k);
      var a1: Left;
      var a2: Left;
      var a3: Left;
      if (TM >= 2u) { a1 = left(si + 16u, k); }
      if (TM == 4u) {
        a2 = left(si + 32u, k);
        a3 = left(si + 48u, k);
      }
      let b0 = right(k, sj);
      c00 = multiply(a0, b0, c00);
      if (TM >= 2u) { c10 = multiply(a1, b0, c10); }
      if (TM == 4u) {
        c20 = multiply(a2, b0, c20);
        c30 = multiply(a3, b0, c30);
      }
      if (TN >= 2u) {
        let b1 = right(k, sj + 16u);
        c01 = multiply(a0, b1, c01);
        if (TM >= 2u) { c11 = multiply(a1, b1, c11); }
        if (TM == 4u) {
          c21 = multiply(a2, b1, c21);
          c31 = multiply(a3, b1, c31);
        }
      }
      if (TN == 4u) {
        let b2 = right(k, sj + 32u);
        c02 = multiply(a0, b2, c02);
        if (TM >= 2u) { c12 = multiply(a1, b2, c12); }
        if (TM == 4u) {
          c22 = multiply(a2, b2, c22);
          c32 = multiply(a3, b2, c32);
        }
        let b3 = right(k, sj + 48u);
        c03 = multiply(a0, b3, c03);
        if (TM >= 2u) { c13 = multiply(a1, b3, c13); }
        if (TM == 4u) {
          c23 = multiply(a2, b3, c23);
          c33 = multiply(a3, b3, c33);
        }
      }
    }
  }
  out_base = group.z * params.m * params.n;
  var down = 1.0;
  if (SCALED == 1u) { down = scale_down(largest[0]); }
  let whole = OUT_LANES == 4u && params.accumulate + params.has_bias == 0u && i0 + BM <= params.m && j0 + BN <= params.n;
  let i = i0 + si;
  let j = j0 + sj;
  put_row(whole, c00, c01, c02, c03, i, j, subgroup, lane, down);
  if (TM >= 2u) { put_row(whole, c10, c11, c12, c13, i + 16u, j, subgroup, lane, down); }
  if (TM == 4u) {
    put_row(whole, c20, c21, c22, c23, i + 32u, j, subgroup, lane, down);
    put_row(whole, c30, c31, c32, c33, i + 48u, j, subgroup, lane, down);
  }
}
