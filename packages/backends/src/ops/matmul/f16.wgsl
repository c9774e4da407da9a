// Matrix product with f16 operands and f32 sums: subgroups of 32 multiply 16×16×16 matrices. A workgroup of SUBS_M·SUBS_N
// subgroups, TM×TN matrices each, makes BM×BN of out; BK k at a time pass through workgroup memory in the layout that
// they have in storage (TRANS_A: [k, m]; TRANS_B: [n, k]). f16-packed.wgsl or f16-staged.wgsl says where they come from:
// `Strip`s, fetched while the matrices before them are multiplied. Every element of out is one chain of additions over
// ascending runs of 16 k, whatever the tile. Sums are named, because arrays of matrices cost a tenth. The entry point and
// what a matrix is are in f16-matrices.wgsl.
const BM = SUBS_M * TM * 16u;
const BN = SUBS_N * TN * 16u;
const T = SUBS_M * SUBS_N * 32u;
const A_ROWS = select(BM, BK, TRANS_A == 1u);
const A_COLS = select(BK, BM, TRANS_A == 1u);
const B_ROWS = select(BK, BN, TRANS_B == 1u);
const B_COLS = select(BN, BK, TRANS_B == 1u);
// From row to row in vec4s: 8 more than needed, else the rows of a matrix fall on the same banks.
const A_LD = (A_COLS + 8u) / 4u;
const B_LD = (B_COLS + 8u) / 4u;
var<workgroup> tile_a: array<vec4<f16>, A_ROWS * A_LD>;
var<workgroup> tile_b: array<vec4<f16>, B_ROWS * B_LD>;
// One 16×16 matrix of sums a subgroup, on the way to out.
const PATCH_LD = 20u;
var<workgroup> patches: array<f32, SUBS_M * SUBS_N * 16u * PATCH_LD>;

@group(0) @binding(4) var<storage, read> largest: array<u32>;

fn put(sum: Sum, i: u32, j: u32, subgroup: u32, lane: u32, down: f32) {
  let base = subgroup * 16u * PATCH_LD;
  workgroupBarrier();
  spill(sum, base);
  workgroupBarrier();
  for (var id = lane; id < 64u; id += 32u) {
    let r = id / 4u;
    let c = id % 4u * 4u;
    let at = base + r * PATCH_LD + c;
    store(i + r, j + c, vec4f(patches[at], patches[at + 1u], patches[at + 2u], patches[at + 3u]) * down);
  }
}

// group: tile along n and m, run of k; t: invocation of the workgroup; lane: invocation of the subgroup.
fn tile(group: vec3u, t: u32, subgroup: u32, lane: u32) {
  let i0 = group.y * BM;
  let j0 = group.x * BN;
  let si = subgroup / SUBS_N * TM * 16u;
  let sj = subgroup % SUBS_N * TN * 16u;
  var up = 1.0;
  var down = 1.0;
  if (SCALED == 1u) {
    up = scale_up(largest[0]);
    down = scale_down(largest[0]);
  }
  var c00 = Sum();
  var c01 = Sum();
  var c10 = Sum();
  var c11 = Sum();
  var c20 = Sum();
  var c21 = Sum();
  var c30 = Sum();
  var c31 = Sum();
  let end = min(params.k, (group.z + 1u) * params.chunk);
  let begin = group.z * params.chunk;
  var next_a = fetch_a(i0, begin, t);
  var next_b = fetch_b(j0, begin, t);
  for (var k0 = begin; k0 < end; k0 += BK) {
    workgroupBarrier();
    stage_a(next_a, t, up);
    stage_b(next_b, t);
    workgroupBarrier();
    if (k0 + BK < end) {
      next_a = fetch_a(i0, k0 + BK, t);
      next_b = fetch_b(j0, k0 + BK, t);
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
      if (TN == 2u) {
        let b1 = right(k, sj + 16u);
        c01 = multiply(a0, b1, c01);
        if (TM >= 2u) { c11 = multiply(a1, b1, c11); }
        if (TM == 4u) {
          c21 = multiply(a2, b1, c21);
          c31 = multiply(a3, b1, c31);
        }
      }
    }
  }
  out_base = group.z * params.m * params.n;
  let i = i0 + si;
  let j = j0 + sj;
  put(c00, i, j, subgroup, lane, down);
  if (TN == 2u) { put(c01, i, j + 16u, subgroup, lane, down); }
  if (TM >= 2u) {
    put(c10, i + 16u, j, subgroup, lane, down);
    if (TN == 2u) { put(c11, i + 16u, j + 16u, subgroup, lane, down); }
  }
  if (TM == 4u) {
    put(c20, i + 32u, j, subgroup, lane, down);
    put(c30, i + 48u, j, subgroup, lane, down);
    if (TN == 2u) {
      put(c21, i + 32u, j + 16u, subgroup, lane, down);
      put(c31, i + 48u, j + 16u, subgroup, lane, down);
    }
  }
}
