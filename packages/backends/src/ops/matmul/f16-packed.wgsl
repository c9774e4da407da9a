// Operands that f16-pack.wgsl made: rows of whole tiles, zeros outside the matrix, 8 f16 a vector; no bounds to check.
@group(0) @binding(1) var<storage, read> a: array<vec4u>;
@group(0) @binding(2) var<storage, read> b: array<vec4u>;

// A thread's share of a tile, a quarter of its rows apart (an eighth of T·32 f16).
struct Strip { v0: vec4u, v1: vec4u, v2: vec4u, v3: vec4u }

const A_VECTORS = A_ROWS * A_COLS / 8u / T;
const B_VECTORS = B_ROWS * B_COLS / 8u / T;
const A_STEP = T / (A_COLS / 8u);
const B_STEP = T / (B_COLS / 8u);

fn fetch_a(i0: u32, k0: u32, t: u32) -> Strip {
  let row = select(i0, k0, TRANS_A == 1u) + t / (A_COLS / 8u);
  let ld = params.a_ld / 8u;
  let at = row * ld + select(k0, i0, TRANS_A == 1u) / 8u + t % (A_COLS / 8u);
  var s = Strip(a[at], vec4u(), vec4u(), vec4u());
  if (A_VECTORS >= 2u) { s.v1 = a[at + A_STEP * ld]; }
  if (A_VECTORS == 4u) {
    s.v2 = a[at + 2u * A_STEP * ld];
    s.v3 = a[at + 3u * A_STEP * ld];
  }
  return s;
}

fn fetch_b(j0: u32, k0: u32, t: u32) -> Strip {
  let row = select(k0, j0, TRANS_B == 1u) + t / (B_COLS / 8u);
  let ld = params.b_ld / 8u;
  let at = row * ld + select(j0, k0, TRANS_B == 1u) / 8u + t % (B_COLS / 8u);
  var s = Strip(b[at], vec4u(), vec4u(), vec4u());
  if (B_VECTORS >= 2u) { s.v1 = b[at + B_STEP * ld]; }
  if (B_VECTORS == 4u) {
    s.v2 = b[at + 2u * B_STEP * ld];
    s.v3 = b[at + 3u * B_STEP * ld];
  }
  return s;
}

fn first(v: vec4u) -> vec4<f16> { return vec4<f16>(bitcast<vec2<f16>>(v.x), bitcast<vec2<f16>>(v.y)); }
fn second(v: vec4u) -> vec4<f16> { return vec4<f16>(bitcast<vec2<f16>>(v.z), bitcast<vec2<f16>>(v.w)); }

fn put_a(at: u32, v: vec4u) {
  tile_a[at] = first(v);
  tile_a[at + 1u] = second(v);
}

fn put_b(at: u32, v: vec4u) {
  tile_b[at] = first(v);
  tile_b[at + 1u] = second(v);
}

// The scale is in the packed values.
fn stage_a(s: Strip, t: u32, up: f32) {
  let at = t / (A_COLS / 8u) * A_LD + t % (A_COLS / 8u) * 2u;
  put_a(at, s.v0);
  if (A_VECTORS >= 2u) { put_a(at + A_STEP * A_LD, s.v1); }
  if (A_VECTORS == 4u) {
    put_a(at + 2u * A_STEP * A_LD, s.v2);
    put_a(at + 3u * A_STEP * A_LD, s.v3);
  }
}

fn stage_b(s: Strip, t: u32) {
  let at = t / (B_COLS / 8u) * B_LD + t % (B_COLS / 8u) * 2u;
  put_b(at, s.v0);
  if (B_VECTORS >= 2u) { put_b(at + B_STEP * B_LD, s.v1); }
  if (B_VECTORS == 4u) {
    put_b(at + 2u * B_STEP * B_LD, s.v2);
    put_b(at + 3u * B_STEP * B_LD, s.v3);
  }
}
