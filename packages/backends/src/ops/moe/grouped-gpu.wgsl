// For GPUs: a workgroup of TX·TY threads computes TY·ROWS rows by TX·8 columns of an expert's out; tiles of BK k pass
// through workgroup memory, transposed, as in matmul/gpu.wgsl. grid y: row tiles of all experts, or (KIND 2) row tiles of
// out with the expert in z.
const BM4 = TY * ROWS / 4u;
const BN4 = TX * 2u;
const T = TX * TY;
var<workgroup> tile_a: array<vec4f, BK * BM4>;
var<workgroup> tile_b: array<vec4f, BK * BN4>;

fn a_quad(row: u32, last: u32, k: u32) -> vec4f {
  if (k >= params.k) { return vec4f(); }
  return load_a(min(row, last) * params.k + k, params.k - k);
}

fn b_quad(base: u32, j: u32, k: u32) -> vec4f {
  if (k >= params.k) { return vec4f(); }
  return load_b((base + min(j, params.n - 1u)) * params.k + k, params.k - k);
}

// KIND 0, 1: rows from i0 to `last` of a, columns k0…; KIND 2: rows k0… below k_end of a, columns i0….
fn fetch_a(i0: u32, last: u32, k0: u32, k_end: u32, t: u32) {
  if (KIND == 2u) {
    for (var id = t; id < BK * BM4; id += T) {
      let i = min(i0 + id % BM4 * 4u, (params.m - 1u) & ~3u);
      let k = k0 + id / BM4;
      if (k < k_end) { tile_a[id] = load_a(k * params.m + i, params.m - i); } else { tile_a[id] = vec4f(); }
    }
  } else {
    for (var id = t; id < BK / 4u * BM4; id += T) {
      let q = id % (BK / 4u);
      let r = id / (BK / 4u);
      let i = i0 + r * 4u;
      let k = k0 + q * 4u;
      let v0 = a_quad(i, last, k);
      let v1 = a_quad(i + 1u, last, k);
      let v2 = a_quad(i + 2u, last, k);
      let v3 = a_quad(i + 3u, last, k);
      let at = q * 4u * BM4 + r;
      tile_a[at] = vec4f(v0.x, v1.x, v2.x, v3.x);
      tile_a[at + BM4] = vec4f(v0.y, v1.y, v2.y, v3.y);
      tile_a[at + 2u * BM4] = vec4f(v0.z, v1.z, v2.z, v3.z);
      tile_a[at + 3u * BM4] = vec4f(v0.w, v1.w, v2.w, v3.w);
    }
  }
}

// `base`: rows of b before the expert's (KIND 0: of n, KIND 1: of k each; KIND 2: none).
fn fetch_b(base: u32, j0: u32, k0: u32, k_end: u32, t: u32) {
  if (KIND != 0u) {
    for (var id = t; id < BK * BN4; id += T) {
      let j = min(j0 + id % BN4 * 4u, (params.n - 1u) & ~3u);
      let k = k0 + id / BN4;
      if (k < k_end) { tile_b[id] = load_b((base + k) * params.n + j, params.n - j); } else { tile_b[id] = vec4f(); }
    }
  } else {
    for (var id = t; id < BK / 4u * BN4; id += T) {
      let q = id % (BK / 4u);
      let r = id / (BK / 4u);
      let j = j0 + r * 4u;
      let k = k0 + q * 4u;
      let v0 = b_quad(base, j, k);
      let v1 = b_quad(base, j + 1u, k);
      let v2 = b_quad(base, j + 2u, k);
      let v3 = b_quad(base, j + 3u, k);
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
  var span = Span(group.z, group.y * BM4 * 4u, params.m);
  var k_begin = 0u;
  var k_end = params.k;
  var base = 0u;
  if (KIND == 2u) {
    k_begin = offsets[group.z];
    k_end = offsets[group.z + 1u];
  } else {
    span = span_of(group.y, BM4 * 4u);
    if (span.expert == params.experts) { return; }
    base = span.expert * select(params.k, params.n, KIND == 0u);
  }
  let j0 = group.x * BN4 * 4u;
  let tx = t % TX;
  let ty = t / TX;
  let a_at = ty * (ROWS / 4u);
  for (var k0 = k_begin; k0 < k_end; k0 += BK) {
    fetch_a(span.begin, span.end - 1u, k0, k_end, t);
    fetch_b(base, j0, k0, k_end, t);
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
  if (KIND == 2u) { out_base = span.expert * params.m * params.n; }
  row_end = span.end;
  store_tile(span.begin + ty * ROWS, j0 + tx * 4u);
}
