// GPU matmul: a workgroup of TX·TY threads computes TY·ROWS rows by TX·8 columns of out; tiles of BK k pass through
// workgroup memory, transposed so that a thread reads vec4s along rows of a and columns of b. Any layout (TRANS_A,
// TRANS_B) and size: what lies past k is 0, past m and n is clamped and not stored. grid z: the z-th run of `chunk` k.
const BM4 = TY * ROWS / 4u;
const BN4 = TX * 2u;
const T = TX * TY;
var<workgroup> tile_a: array<vec4f, BK * BM4>;
var<workgroup> tile_b: array<vec4f, BK * BN4>;

// Four rows of a at four k (k ≤ end), or zeros.
fn a_quad(i: u32, k: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  return load_a(min(i, params.m - 1u) * params.k + k, params.k - k);
}

fn b_quad(j: u32, k: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  return load_b(min(j, params.n - 1u) * params.k + k, params.k - k);
}

fn fetch_a(i0: u32, k0: u32, end: u32, t: u32) {
  if (TRANS_A == 1u) {
    for (var id = t; id < BK * BM4; id += T) {
      let i = min(i0 + id % BM4 * 4u, (params.m - 1u) & ~3u);
      let k = k0 + id / BM4;
      if (k < end) { tile_a[id] = load_a(k * params.m + i, params.m - i); } else { tile_a[id] = vec4f(); }
    }
  } else {
    for (var id = t; id < BK / 4u * BM4; id += T) {
      let q = id % (BK / 4u);
      let r = id / (BK / 4u);
      let i = i0 + r * 4u;
      let k = k0 + q * 4u;
      let v0 = a_quad(i, k, end);
      let v1 = a_quad(i + 1u, k, end);
      let v2 = a_quad(i + 2u, k, end);
      let v3 = a_quad(i + 3u, k, end);
      let at = q * 4u * BM4 + r;
      tile_a[at] = vec4f(v0.x, v1.x, v2.x, v3.x);
      tile_a[at + BM4] = vec4f(v0.y, v1.y, v2.y, v3.y);
      tile_a[at + 2u * BM4] = vec4f(v0.z, v1.z, v2.z, v3.z);
      tile_a[at + 3u * BM4] = vec4f(v0.w, v1.w, v2.w, v3.w);
    }
  }
}

fn fetch_b(j0: u32, k0: u32, end: u32, t: u32) {
  if (TRANS_B == 0u) {
    for (var id = t; id < BK * BN4; id += T) {
      let j = min(j0 + id % BN4 * 4u, (params.n - 1u) & ~3u);
      let k = k0 + id / BN4;
      if (k < end) { tile_b[id] = load_b(k * params.n + j, params.n - j); } else { tile_b[id] = vec4f(); }
    }
  } else {
    for (var id = t; id < BK / 4u * BN4; id += T) {
      let q = id % (BK / 4u);
      let r = id / (BK / 4u);
      let j = j0 + r * 4u;
      let k = k0 + q * 4u;
      let v0 = b_quad(j, k, end);
      let v1 = b_quad(j + 1u, k, end);
      let v2 = b_quad(j + 2u, k, end);
      let v3 = b_quad(j + 3u, k, end);
      let at = q * 4u * BN4 + r;
      tile_b[at] = vec4f(v0.x, v1.x, v2.x, v3.x);
      tile_b[at + BN4] = vec4f(v0.y, v1.y, v2.y, v3.y);
      tile_b[at + 2u * BN4] = vec4f(v0.z, v1.z, v2.z, v3.z);
      tile_b[at + 3u * BN4] = vec4f(v0.w, v1.w, v2.w, v3.w);
    }
  }
}

@compute @workgroup_size(TX * TY)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let i0 = group.y * BM4 * 4u;
  let j0 = group.x * BN4 * 4u;
  let end = min(params.k, (group.z + 1u) * params.chunk);
  let tx = t % TX;
  let ty = t / TX;
  let a_at = ty * (ROWS / 4u);
  for (var k0 = group.z * params.chunk; k0 < end; k0 += BK) {
    fetch_a(i0, k0, end, t);
    fetch_b(j0, k0, end, t);
    workgroupBarrier();
    for (var k = 0u; k < BK; k++) {
      let a = k * BM4 + a_at;
      let b = k * BN4 + tx;
      var a1 = vec4f();
      if (ROWS == 8u) { a1 = tile_a[a + 1u]; }
      step(tile_a[a], a1, tile_b[b], tile_b[b + TX], vec4f(), vec4f());
    }
    workgroupBarrier();
  }
  out_base = group.z * params.m * params.n;
  store_tile(i0 + ty * ROWS, j0 + tx * 4u);
}
