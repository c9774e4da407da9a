// GPU matmul with the largest tile, 128×128 by 256 threads of 8 rows by 2 vec4 columns: what gpu.wgsl computes, bit for
// bit, but the next BK k are fetched into registers while these are multiplied, tiles in workgroup memory alternate, and
// sums are locals. The first half of the threads fetches from a, the second from b, a 4×4 block (or 4 vec4s) each.
const BM4 = 32u;
const BN4 = 32u;
const HALF = BK / 4u * BM4;
const T = 2u * HALF;
var<workgroup> tile_a: array<vec4f, 2u * BK * BM4>;
var<workgroup> tile_b: array<vec4f, 2u * BK * BN4>;

struct Block { v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f }

// Rows of a [m, k] or b [n, k] at four k; past k (or the run's end) zeros, past the last row that row again.
fn a_quad(i: u32, k: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  return load_a(min(i, params.m - 1u) * params.k + k, params.k - k);
}
fn b_quad(j: u32, k: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  return load_b(min(j, params.n - 1u) * params.k + k, params.k - k);
}
// The same of a [k, m] or b [k, n].
fn a_row(k: u32, i: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  let at = min(i, (params.m - 1u) & ~3u);
  return load_a(k * params.m + at, params.m - at);
}
fn b_row(k: u32, j: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  let at = min(j, (params.n - 1u) & ~3u);
  return load_b(k * params.n + at, params.n - at);
}

fn fetch_a(i0: u32, k0: u32, end: u32, whole: bool, t: u32) -> Block {
  if (TRANS_A == 1u) {
    let k = k0 + t / BM4;
    let i = i0 + t % BM4 * 4u;
    if (whole) {
      let at = k * params.m + i;
      let by = HALF / BM4 * params.m;
      return Block(load_a(at, 4u), load_a(at + by, 4u), load_a(at + 2u * by, 4u), load_a(at + 3u * by, 4u));
    }
    return Block(
      a_row(k, i, end),
      a_row(k + HALF / BM4, i, end),
      a_row(k + 2u * HALF / BM4, i, end),
      a_row(k + 3u * HALF / BM4, i, end),
    );
  }
  let k = k0 + t % (BK / 4u) * 4u;
  let i = i0 + t / (BK / 4u) * 4u;
  if (whole) {
    let at = i * params.k + k;
    let by = params.k;
    return Block(load_a(at, 4u), load_a(at + by, 4u), load_a(at + 2u * by, 4u), load_a(at + 3u * by, 4u));
  }
  return Block(a_quad(i, k, end), a_quad(i + 1u, k, end), a_quad(i + 2u, k, end), a_quad(i + 3u, k, end));
}

fn fetch_b(j0: u32, k0: u32, end: u32, whole: bool, t: u32) -> Block {
  if (TRANS_B == 0u) {
    let k = k0 + t / BN4;
    let j = j0 + t % BN4 * 4u;
    if (whole) {
      let at = k * params.n + j;
      let by = HALF / BN4 * params.n;
      return Block(load_b(at, 4u), load_b(at + by, 4u), load_b(at + 2u * by, 4u), load_b(at + 3u * by, 4u));
    }
    return Block(
      b_row(k, j, end),
      b_row(k + HALF / BN4, j, end),
      b_row(k + 2u * HALF / BN4, j, end),
      b_row(k + 3u * HALF / BN4, j, end),
    );
  }
  let k = k0 + t % (BK / 4u) * 4u;
  let j = j0 + t / (BK / 4u) * 4u;
  if (whole) {
    let at = j * params.k + k;
    let by = params.k;
    return Block(load_b(at, 4u), load_b(at + by, 4u), load_b(at + 2u * by, 4u), load_b(at + 3u * by, 4u));
  }
  return Block(b_quad(j, k, end), b_quad(j + 1u, k, end), b_quad(j + 2u, k, end), b_quad(j + 3u, k, end));
}

fn fetch(i0: u32, j0: u32, k0: u32, end: u32, whole: bool, t: u32) -> Block {
  let inside = whole && k0 + BK <= end;
  if (t < HALF) { return fetch_a(i0, k0, end, inside, t); }
  return fetch_b(j0, k0, end, inside, t - HALF);
}

// Rows of four k become columns.
fn transposed(s: Block) -> Block {
  return Block(
    vec4f(s.v0.x, s.v1.x, s.v2.x, s.v3.x),
    vec4f(s.v0.y, s.v1.y, s.v2.y, s.v3.y),
    vec4f(s.v0.z, s.v1.z, s.v2.z, s.v3.z),
    vec4f(s.v0.w, s.v1.w, s.v2.w, s.v3.w),
  );
}

fn stage(s: Block, which: u32, t: u32) {
  if (t < HALF) {
    let base = which * BK * BM4;
    if (TRANS_A == 1u) {
      tile_a[base + t] = s.v0;
      tile_a[base + t + HALF] = s.v1;
      tile_a[base + t + 2u * HALF] = s.v2;
      tile_a[base + t + 3u * HALF] = s.v3;
    } else {
      let at = base + t % (BK / 4u) * 4u * BM4 + t / (BK / 4u);
      let c = transposed(s);
      tile_a[at] = c.v0;
      tile_a[at + BM4] = c.v1;
      tile_a[at + 2u * BM4] = c.v2;
      tile_a[at + 3u * BM4] = c.v3;
    }
  } else {
    let u = t - HALF;
    let base = which * BK * BN4;
    if (TRANS_B == 0u) {
      tile_b[base + u] = s.v0;
      tile_b[base + u + HALF] = s.v1;
      tile_b[base + u + 2u * HALF] = s.v2;
      tile_b[base + u + 3u * HALF] = s.v3;
    } else {
      let at = base + u % (BK / 4u) * 4u * BN4 + u / (BK / 4u);
      let c = transposed(s);
      tile_b[at] = c.v0;
      tile_b[at + BN4] = c.v1;
      tile_b[at + 2u * BN4] = c.v2;
      tile_b[at + 3u * BN4] = c.v3;
    }
  }
}

@compute @workgroup_size(T)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let i0 = group.y * BM4 * 4u;
  let j0 = group.x * BN4 * 4u;
  let begin = group.z * params.chunk;
  let end = min(params.k, begin + params.chunk);
  let whole = i0 + BM4 * 4u <= params.m && j0 + BN4 * 4u <= params.n;
  let tx = t % 16u;
  let ty = t / 16u;
  var c00 = vec4f();
  var c01 = vec4f();
  var c10 = vec4f();
  var c11 = vec4f();
  var c20 = vec4f();
  var c21 = vec4f();
  var c30 = vec4f();
  var c31 = vec4f();
  var c40 = vec4f();
  var c41 = vec4f();
  var c50 = vec4f();
  var c51 = vec4f();
  var c60 = vec4f();
  var c61 = vec4f();
  var c70 = vec4f();
  var c71 = vec4f();
  var which = 0u;
  var next = fetch(i0, j0, begin, end, whole, t);
  stage(next, which, t);
  workgroupBarrier();
  for (var k0 = begin; k0 < end; k0 += BK) {
    let more = k0 + BK < end;
    if (more) { next = fetch(i0, j0, k0 + BK, end, whole, t); }
    let a_at = which * BK * BM4 + ty * 2u;
    let b_at = which * BK * BN4 + tx;
    for (var k = 0u; k < BK; k++) {
      let a0 = tile_a[a_at + k * BM4];
      let a1 = tile_a[a_at + k * BM4 + 1u];
      let b0 = tile_b[b_at + k * BN4];
      let b1 = tile_b[b_at + k * BN4 + 16u];
      c00 = fma(vec4f(a0.x), b0, c00);
      c01 = fma(vec4f(a0.x), b1, c01);
      c10 = fma(vec4f(a0.y), b0, c10);
      c11 = fma(vec4f(a0.y), b1, c11);
      c20 = fma(vec4f(a0.z), b0, c20);
      c21 = fma(vec4f(a0.z), b1, c21);
      c30 = fma(vec4f(a0.w), b0, c30);
      c31 = fma(vec4f(a0.w), b1, c31);
      c40 = fma(vec4f(a1.x), b0, c40);
      c41 = fma(vec4f(a1.x), b1, c41);
      c50 = fma(vec4f(a1.y), b0, c50);
      c51 = fma(vec4f(a1.y), b1, c51);
      c60 = fma(vec4f(a1.z), b0, c60);
      c61 = fma(vec4f(a1.z), b1, c61);
      c70 = fma(vec4f(a1.w), b0, c70);
      c71 = fma(vec4f(a1.w), b1, c71);
    }
    which = 1u - which;
    if (more) { stage(next, which, t); }
    workgroupBarrier();
  }
  out_base = group.z * params.m * params.n;
  let i = i0 + ty * 8u;
  let j = j0 + tx * 4u;
  store(i, j, c00);
  store(i, j + 64u, c01);
  store(i + 1u, j, c10);
  store(i + 1u, j + 64u, c11);
  store(i + 2u, j, c20);
  store(i + 2u, j + 64u, c21);
  store(i + 3u, j, c30);
  store(i + 3u, j + 64u, c31);
  store(i + 4u, j, c40);
  store(i + 4u, j + 64u, c41);
  store(i + 5u, j, c50);
  store(i + 5u, j + 64u, c51);
  store(i + 6u, j, c60);
  store(i + 6u, j + 64u, c61);
  store(i + 7u, j, c70);
  store(i + 7u, j + 64u, c71);
}
