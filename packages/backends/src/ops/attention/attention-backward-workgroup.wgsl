// attention-backward.wgsl for GPUs. `dq`: a workgroup takes QT queries and the G heads of one kv head, 4·RG rows, and
// walks tiles of BK keys. `dkv`: it takes 4·RG keys and walks tiles of BK queries of every q head. Row r = rg + RG·i is
// component i of the vec4s of row group rg; the tile's other side is the columns. D4 = KV·CV, BK = KS·TC.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read> d_out: array<vec4f>;
// dq
@group(0) @binding(6) var<storage, read> out: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<storage, read_write> d_q: array<vec4f>;
// dk and dv: both in one tensor, or one of them
@group(0) @binding(6) var<storage, read> q_range: array<vec2u>;
@group(0) @binding(7) var<storage, read> delta_in: array<f32>;
@group(0) @binding(8) var<storage, read_write> d_kv: array<vec4f>;

const ROWS = 4u * RG;
// Rows of the shared column tiles are one vec4 longer, so that neighbours lie in different banks.
const PITCH = D4 + 1u;
// Vec4s of a column tile that a lane brings; they are fetched a tile ahead.
const FETCH = (BK * D4 + WG - 1u) / WG;
const LOG2E = 1.4426950408889634;

// Rows: queries and dOut, or keys and values, turned so that four rows make a vec4.
var<workgroup> row_a: array<vec4f, 4u * D4 * RG>;
var<workgroup> row_b: array<vec4f, 4u * D4 * RG>;
// Columns: keys and values, or queries and dOut.
var<workgroup> column_a: array<vec4f, BK * PITCH>;
var<workgroup> column_b: array<vec4f, BK * PITCH>;
var<workgroup> p4: array<vec4f, BK * RG>;
var<workgroup> ds4: array<vec4f, BK * RG>;
// Per row of dq: key range, lse·log2 e, delta. Per column of dkv the same.
var<workgroup> row_begin: array<vec4u, RG>;
var<workgroup> row_end: array<vec4u, RG>;
var<workgroup> row_lse: array<vec4f, RG>;
var<workgroup> row_delta: array<vec4f, RG>;
var<workgroup> column_range: array<vec2u, BK>;
var<workgroup> column_facts: array<vec2f, BK>;
var<workgroup> first: atomic<u32>;
var<workgroup> end: atomic<u32>;
var<workgroup> shared_walk: vec2u;

fn range_of(t: u32) -> vec2u {
  let at = t * params.range_stride + params.range_offset;
  return vec2u(kv_range[at], kv_range[at + 1u]);
}

fn put_row_a(r: u32, c: u32, x: vec4f) {
  for (var e = 0u; e < 4u; e++) { row_a[(4u * c + e) * RG + r % RG][r / RG] = x[e]; }
}

fn put_row_b(r: u32, c: u32, x: vec4f) {
  for (var e = 0u; e < 4u; e++) { row_b[(4u * c + e) * RG + r % RG][r / RG] = x[e]; }
}

// Products of four rows with one column: a with a, b with b.
struct Products {
  a: vec4f,
  b: vec4f,
}

fn products(rg: u32, column: u32) -> Products {
  var a = vec4f();
  var b = vec4f();
  for (var c = 0u; c < D4; c++) {
    let x = column_a[column * PITCH + c];
    let y = column_b[column * PITCH + c];
    let at = 4u * c * RG + rg;
    a = fma(row_a[at], vec4f(x.x), a);
    a = fma(row_a[at + RG], vec4f(x.y), a);
    a = fma(row_a[at + 2u * RG], vec4f(x.z), a);
    a = fma(row_a[at + 3u * RG], vec4f(x.w), a);
    b = fma(row_b[at], vec4f(y.x), b);
    b = fma(row_b[at + RG], vec4f(y.y), b);
    b = fma(row_b[at + 2u * RG], vec4f(y.z), b);
    b = fma(row_b[at + 3u * RG], vec4f(y.w), b);
  }
  return Products(a, b);
}

// What dq adds up in workgroup order: the union of the key ranges of its queries.
fn walk_of(lane: u32, mine: vec2u) -> vec2u {
  if (lane == 0u) {
    atomicStore(&first, 0xffffffffu);
    atomicStore(&end, 0u);
  }
  workgroupBarrier();
  if (mine.x < mine.y) {
    atomicMin(&first, mine.x);
    atomicMax(&end, mine.y);
  }
  workgroupBarrier();
  if (lane == 0u) { shared_walk = vec2u(atomicLoad(&first), atomicLoad(&end)); }
  return workgroupUniformLoad(&shared_walk);
}

@compute @workgroup_size(WG)
fn dq(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = group.x + group.y * groups.x;
  let kv_head = block % params.n_kv_heads;
  let t0 = (block / params.n_kv_heads) * QT;
  if (t0 >= params.t_q) { return; }
  // Heads of this rank that use the kv head; the first `skip` of the group belong to the rank before.
  let first_head = (kv_head + params.kv_head_offset) * G;
  let h_begin = max(first_head, params.q_head_offset) - params.q_head_offset;
  let h_end = min(max(first_head + G, params.q_head_offset) - params.q_head_offset, params.n_heads);
  let skip = max(first_head, params.q_head_offset) - first_head;

  for (var i = lane; i < ROWS * D4; i += WG) {
    let r = i / D4;
    let c = i % D4;
    let t = t0 + r / G;
    let h = r % G - skip + h_begin;
    var x = vec4f();
    var y = vec4f();
    if (r < QT * G && t < params.t_q && r % G >= skip && h < h_end) {
      x = q[params.q_offset + t * params.q_stride + h * D4 + c] * (params.scale * LOG2E);
      y = d_out[(t * params.n_heads + h) * D4 + c];
    }
    put_row_a(r, c, x);
    put_row_b(r, c, y);
  }
  var mine = vec2u(0xffffffffu, 0u);
  for (var r = lane; r < ROWS; r += WG) {
    let t = t0 + r / G;
    let h = r % G - skip + h_begin;
    var range = vec2u(0xffffffffu, 0u);
    var facts = vec2f();
    if (r < QT * G && t < params.t_q && r % G >= skip && h < h_end) {
      range = range_of(t);
      if (range.x < range.y) { mine = vec2u(min(mine.x, range.x), max(mine.y, range.y)); }
      let row = t * params.n_heads + h;
      for (var c = 0u; c < D4; c++) { facts.y += dot(d_out[row * D4 + c], out[row * D4 + c]); }
      facts.x = lse[row] * LOG2E;
      delta[row] = facts.y;
    }
    row_begin[r % RG][r / RG] = range.x;
    row_end[r % RG][r / RG] = range.y;
    row_lse[r % RG][r / RG] = facts.x;
    row_delta[r % RG][r / RG] = facts.y;
  }
  let keys = walk_of(lane, mine);

  let s_rg = lane / KS;
  let s_kg = lane % KS;
  let o_rg = lane / KV;
  let o_cg = lane % KV;
  let k_base = params.k_offset + kv_head * D4;
  let v_base = params.v_offset + kv_head * D4;
  var o: array<vec4f, 4u * CV>;
  for (var i = 0u; i < 4u * CV; i++) { o[i] = vec4f(); }
  var ahead_a: array<vec4f, FETCH>;
  var ahead_b: array<vec4f, FETCH>;
  for (var n = 0u; n < FETCH && keys.x < keys.y; n++) {
    let i = lane + n * WG;
    let key = min(keys.x + i / D4, keys.y - 1u);
    ahead_a[n] = k[k_base + key * params.k_stride + i % D4];
    ahead_b[n] = v[v_base + key * params.v_stride + i % D4];
  }
  for (var s0 = keys.x; s0 < keys.y; s0 += BK) {
    for (var n = 0u; n < FETCH; n++) {
      let i = lane + n * WG;
      if (i < BK * D4) {
        column_a[(i / D4) * PITCH + i % D4] = ahead_a[n];
        column_b[(i / D4) * PITCH + i % D4] = ahead_b[n];
      }
    }
    workgroupBarrier();
    for (var n = 0u; n < FETCH; n++) {
      let i = lane + n * WG;
      let key = min(s0 + BK + i / D4, keys.y - 1u);
      ahead_a[n] = k[k_base + key * params.k_stride + i % D4];
      ahead_b[n] = v[v_base + key * params.v_stride + i % D4];
    }
    if (lane < RG * KS) {
      for (var j = 0u; j < TC; j++) {
        let column = s_kg + KS * j;
        let x = products(s_rg, column);
        let inside = (vec4u(s0 + column) >= row_begin[s_rg]) & (vec4u(s0 + column) < row_end[s_rg]);
        let p = select(vec4f(), exp2(x.a - row_lse[s_rg]), inside);
        ds4[column * RG + s_rg] = p * (x.b - row_delta[s_rg]);
      }
    }
    workgroupBarrier();
    if (lane < RG * KV) {
      for (var j = 0u; j < BK; j++) {
        let ds = ds4[j * RG + o_rg];
        for (var c = 0u; c < CV; c++) {
          let x = column_a[j * PITCH + o_cg + KV * c];
          for (var i = 0u; i < 4u; i++) { o[i * CV + c] = fma(vec4f(ds[i]), x, o[i * CV + c]); }
        }
      }
    }
    workgroupBarrier();
  }

  if (lane >= RG * KV) { return; }
  for (var i = 0u; i < 4u; i++) {
    let r = o_rg + RG * i;
    let t = t0 + r / G;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t < params.t_q && r % G >= skip && h < h_end) {
      let at = params.dq_offset + t * params.dq_stride + h * D4 + o_cg;
      for (var c = 0u; c < CV; c++) { d_q[at + KV * c] = o[i * CV + c] * params.scale; }
    }
  }
}

@compute @workgroup_size(WG)
fn dkv(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let block = group.x + group.y * groups.x;
  let kv_head = block % params.n_kv_heads;
  let s0 = (block / params.n_kv_heads) * ROWS;
  if (s0 >= params.t_kv) { return; }
  let first_head = (kv_head + params.kv_head_offset) * params.group;
  let h_begin = max(first_head, params.q_head_offset) - params.q_head_offset;
  let h_end = min(max(first_head + params.group, params.q_head_offset) - params.q_head_offset, params.n_heads);

  for (var i = lane; i < ROWS * D4; i += WG) {
    let r = i / D4;
    let c = i % D4;
    let s = min(s0 + r, params.t_kv - 1u);
    put_row_a(r, c, k[params.k_offset + s * params.k_stride + kv_head * D4 + c] * (params.scale * LOG2E));
    put_row_b(r, c, v[params.v_offset + s * params.v_stride + kv_head * D4 + c]);
  }
  var mine = vec2u(0xffffffffu, 0u);
  for (var r = lane; r < ROWS && s0 + r < params.t_kv; r += WG) {
    let range = q_range[s0 + r];
    if (range.x < range.y) { mine = vec2u(min(mine.x, range.x), max(mine.y, range.y)); }
  }
  let queries = walk_of(lane, mine);

  let s_rg = lane / KS;
  let s_kg = lane % KS;
  let o_rg = lane / KV;
  let o_cg = lane % KV;
  let row_keys = vec4u(s0 + s_rg) + vec4u(0u, RG, 2u * RG, 3u * RG);
  var dk: array<vec4f, 4u * CV>;
  var dv: array<vec4f, 4u * CV>;
  for (var i = 0u; i < 4u * CV; i++) {
    dk[i] = vec4f();
    dv[i] = vec4f();
  }
  var ahead_a: array<vec4f, FETCH>;
  var ahead_b: array<vec4f, FETCH>;
  for (var n = 0u; n < FETCH && h_begin < h_end && queries.x < queries.y; n++) {
    let i = lane + n * WG;
    let t = min(queries.x + i / D4, params.t_q - 1u);
    ahead_a[n] = q[params.q_offset + t * params.q_stride + h_begin * D4 + i % D4];
    ahead_b[n] = d_out[(t * params.n_heads + h_begin) * D4 + i % D4];
  }
  for (var h = h_begin; h < h_end; h++) {
    for (var t0 = queries.x; t0 < queries.y; t0 += BK) {
      for (var n = 0u; n < FETCH; n++) {
        let i = lane + n * WG;
        if (i < BK * D4) {
          column_a[(i / D4) * PITCH + i % D4] = ahead_a[n];
          column_b[(i / D4) * PITCH + i % D4] = ahead_b[n];
        }
      }
      for (var j = lane; j < BK; j += WG) {
        var range = vec2u(0xffffffffu, 0u);
        var facts = vec2f();
        if (t0 + j < min(queries.y, params.t_q)) {
          range = range_of(t0 + j);
          let row = (t0 + j) * params.n_heads + h;
          facts = vec2f(lse[row] * LOG2E, delta_in[row]);
        }
        column_range[j] = range;
        column_facts[j] = facts;
      }
      workgroupBarrier();
      // The next tile is of the same head, or the first of the next one.
      let same = t0 + BK < queries.y;
      let next_h = select(min(h + 1u, h_end - 1u), h, same);
      let next_t = select(queries.x, t0 + BK, same);
      for (var n = 0u; n < FETCH; n++) {
        let i = lane + n * WG;
        let t = min(next_t + i / D4, params.t_q - 1u);
        ahead_a[n] = q[params.q_offset + t * params.q_stride + next_h * D4 + i % D4];
        ahead_b[n] = d_out[(t * params.n_heads + next_h) * D4 + i % D4];
      }
      if (lane < RG * KS) {
        for (var j = 0u; j < TC; j++) {
          let column = s_kg + KS * j;
          let x = products(s_rg, column);
          let range = column_range[column];
          let facts = column_facts[column];
          let inside = (row_keys >= vec4u(range.x)) & (row_keys < vec4u(range.y));
          let p = select(vec4f(), exp2(x.a - vec4f(facts.x)), inside);
          p4[column * RG + s_rg] = p;
          ds4[column * RG + s_rg] = p * (x.b - vec4f(facts.y));
        }
      }
      workgroupBarrier();
      if (lane < RG * KV) {
        for (var j = 0u; j < BK; j++) {
          let p = p4[j * RG + o_rg];
          let ds = ds4[j * RG + o_rg];
          for (var c = 0u; c < CV; c++) {
            let x = column_a[j * PITCH + o_cg + KV * c];
            let y = column_b[j * PITCH + o_cg + KV * c];
            for (var i = 0u; i < 4u; i++) {
              dk[i * CV + c] = fma(vec4f(ds[i]), x, dk[i * CV + c]);
              dv[i * CV + c] = fma(vec4f(p[i]), y, dv[i * CV + c]);
            }
          }
        }
      }
      workgroupBarrier();
    }
  }

  if (lane >= RG * KV) { return; }
  for (var i = 0u; i < 4u; i++) {
    let s = s0 + o_rg + RG * i;
    if (s >= params.t_kv) { continue; }
    let k_at = params.dk_offset + s * params.dk_stride + kv_head * D4 + o_cg;
    let v_at = params.dv_offset + s * params.dv_stride + kv_head * D4 + o_cg;
    for (var c = 0u; c < CV; c++) {
      if (params.write_k != 0u) { d_kv[k_at + KV * c] = dk[i * CV + c] * params.scale; }
      if (params.write_v != 0u) { d_kv[v_at + KV * c] = dv[i * CV + c]; }
    }
  }
}
