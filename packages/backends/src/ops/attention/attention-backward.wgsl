// Backward of attention by recomputation (FlashAttention, Dao et al., arXiv 2205.14135): p = exp(s − lse),
// ds = p·(dOut·v − delta) with delta = dOut·out. Tiles of four queries by four keys; every sum runs over its queries or
// keys in ascending order, one by one, and a pair outside the ranges adds zero, so tile boundaries don't matter. The
// gradient rows hold the running sums. `dq` also writes delta; `dkv` runs after it. Offsets and strides count vec4s.
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

fn range_of(t: u32) -> vec2u {
  let at = params.range_offset + t * params.range_stride;
  return vec2u(kv_range[at], kv_range[at + 1u]);
}

const NEXT4 = vec4u(0u, 1u, 2u, 3u);

// Column r: the scores of query r with the four keys.
fn scores(qa: vec4u, ka: vec4u) -> mat4x4f {
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var c = 0u; c < params.d4; c++) {
    let k0 = k[ka.x + c];
    let k1 = k[ka.y + c];
    let k2 = k[ka.z + c];
    let k3 = k[ka.w + c];
    let x0 = q[qa.x + c];
    let x1 = q[qa.y + c];
    let x2 = q[qa.z + c];
    let x3 = q[qa.w + c];
    s0 += vec4f(dot(x0, k0), dot(x0, k1), dot(x0, k2), dot(x0, k3));
    s1 += vec4f(dot(x1, k0), dot(x1, k1), dot(x1, k2), dot(x1, k3));
    s2 += vec4f(dot(x2, k0), dot(x2, k1), dot(x2, k2), dot(x2, k3));
    s3 += vec4f(dot(x3, k0), dot(x3, k1), dot(x3, k2), dot(x3, k3));
  }
  return mat4x4f(s0, s1, s2, s3);
}

// Column r: dOut of query r times the four values.
fn value_products(oa: vec4u, va: vec4u) -> mat4x4f {
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var c = 0u; c < params.d4; c++) {
    let v0 = v[va.x + c];
    let v1 = v[va.y + c];
    let v2 = v[va.z + c];
    let v3 = v[va.w + c];
    let x0 = d_out[oa.x + c];
    let x1 = d_out[oa.y + c];
    let x2 = d_out[oa.z + c];
    let x3 = d_out[oa.w + c];
    s0 += vec4f(dot(x0, v0), dot(x0, v1), dot(x0, v2), dot(x0, v3));
    s1 += vec4f(dot(x1, v0), dot(x1, v1), dot(x1, v2), dot(x1, v3));
    s2 += vec4f(dot(x2, v0), dot(x2, v1), dot(x2, v2), dot(x2, v3));
    s3 += vec4f(dot(x3, v0), dot(x3, v1), dot(x3, v2), dot(x3, v3));
  }
  return mat4x4f(s0, s1, s2, s3);
}

fn attends(range: vec2u, keys: vec4u) -> vec4<bool> {
  return (keys >= vec4u(range.x)) & (keys < vec4u(range.y));
}

fn weights(score: vec4f, row_lse: f32, inside: vec4<bool>) -> vec4f {
  return select(vec4f(), exp(score * params.scale - row_lse), inside);
}

// Adds the weighted rows a, b, c, d to a gradient row, one after the other.
fn add_rows(before: vec4f, w: vec4f, a: vec4f, b: vec4f, c: vec4f, d: vec4f) -> vec4f {
  return before + w.x * a + w.y * b + w.z * c + w.w * d;
}

// Queries or keys past the end repeat the last one with an empty range: they add zero to its row.
const NONE = vec2u(0xffffffffu, 0u);

@compute @workgroup_size(WG)
fn dq(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  let blocks = (params.t_q + 3u) / 4u;
  if (i >= blocks * params.n_heads) { return; }
  let t = 4u * (i % blocks);
  let h = i / blocks;
  let rows = min(t + NEXT4, vec4u(params.t_q - 1u));
  let line = rows * params.n_heads + h;
  let kv_head = (h + params.q_head_offset) / params.group - params.kv_head_offset;
  let qa = params.q_offset + rows * params.q_stride + h * params.d4;
  let ga = params.dq_offset + rows * params.dq_stride + h * params.d4;
  let oa = line * params.d4;
  let range0 = range_of(t);
  let range1 = select(NONE, range_of(rows.y), t + 1u < params.t_q);
  let range2 = select(NONE, range_of(rows.z), t + 2u < params.t_q);
  let range3 = select(NONE, range_of(rows.w), t + 3u < params.t_q);
  let begin = min(min(range0.x, range1.x), min(range2.x, range3.x));
  let end = max(max(range0.y, range1.y), max(range2.y, range3.y));
  let row_lse = vec4f(lse[line.x], lse[line.y], lse[line.z], lse[line.w]);
  var row_delta = vec4f();
  for (var c = 0u; c < params.d4; c++) {
    row_delta += vec4f(
      dot(d_out[oa.x + c], out[oa.x + c]),
      dot(d_out[oa.y + c], out[oa.y + c]),
      dot(d_out[oa.z + c], out[oa.z + c]),
      dot(d_out[oa.w + c], out[oa.w + c]),
    );
    d_q[ga.x + c] = vec4f();
    d_q[ga.y + c] = vec4f();
    d_q[ga.z + c] = vec4f();
    d_q[ga.w + c] = vec4f();
  }
  delta[line.x] = row_delta.x;
  delta[line.y] = row_delta.y;
  delta[line.z] = row_delta.z;
  delta[line.w] = row_delta.w;
  for (var s = begin; s < end; s += 4u) {
    let keys = min(s + NEXT4, vec4u(params.t_kv - 1u));
    let ka = params.k_offset + keys * params.k_stride + kv_head * params.d4;
    let va = params.v_offset + keys * params.v_stride + kv_head * params.d4;
    let score = scores(qa, ka);
    let dp = value_products(oa, va);
    let ds0 = weights(score[0], row_lse.x, attends(range0, s + NEXT4)) * (dp[0] - row_delta.x) * params.scale;
    let ds1 = weights(score[1], row_lse.y, attends(range1, s + NEXT4)) * (dp[1] - row_delta.y) * params.scale;
    let ds2 = weights(score[2], row_lse.z, attends(range2, s + NEXT4)) * (dp[2] - row_delta.z) * params.scale;
    let ds3 = weights(score[3], row_lse.w, attends(range3, s + NEXT4)) * (dp[3] - row_delta.w) * params.scale;
    for (var c = 0u; c < params.d4; c++) {
      let k0 = k[ka.x + c];
      let k1 = k[ka.y + c];
      let k2 = k[ka.z + c];
      let k3 = k[ka.w + c];
      d_q[ga.x + c] = add_rows(d_q[ga.x + c], ds0, k0, k1, k2, k3);
      d_q[ga.y + c] = add_rows(d_q[ga.y + c], ds1, k0, k1, k2, k3);
      d_q[ga.z + c] = add_rows(d_q[ga.z + c], ds2, k0, k1, k2, k3);
      d_q[ga.w + c] = add_rows(d_q[ga.w + c], ds3, k0, k1, k2, k3);
    }
  }
}

// Four keys of one kv head; the queries that attend to them, for each q head of the group.
struct Keys {
  rows: vec4u,
  kv_head: u32,
  range0: vec2u,
  range1: vec2u,
  range2: vec2u,
  range3: vec2u,
  h_begin: u32,
  h_end: u32,
}

fn keys_of(i: u32) -> Keys {
  let blocks = (params.t_kv + 3u) / 4u;
  let s = 4u * (i % blocks);
  let kv_head = i / blocks;
  let rows = min(s + NEXT4, vec4u(params.t_kv - 1u));
  let first = (kv_head + params.kv_head_offset) * params.group;
  return Keys(
    rows,
    kv_head,
    q_range[s],
    select(NONE, q_range[rows.y], s + 1u < params.t_kv),
    select(NONE, q_range[rows.z], s + 2u < params.t_kv),
    select(NONE, q_range[rows.w], s + 3u < params.t_kv),
    max(first, params.q_head_offset) - params.q_head_offset,
    min(max(first + params.group, params.q_head_offset) - params.q_head_offset, params.n_heads),
  );
}

// Which of the four keys query t attends to.
fn attended(keys: Keys, t: u32, row: u32) -> vec4<bool> {
  let known = vec4<bool>(
    (t >= keys.range0.x) && (t < keys.range0.y),
    (t >= keys.range1.x) && (t < keys.range1.y),
    (t >= keys.range2.x) && (t < keys.range2.y),
    (t >= keys.range3.x) && (t < keys.range3.y),
  );
  return known & attends(range_of(row), keys.rows);
}

struct Weights {
  // Column j: of key j with the four queries.
  p: mat4x4f,
  ds: mat4x4f,
}

fn tile_weights(keys: Keys, t: u32, rows: vec4u, line: vec4u, qa: vec4u, oa: vec4u) -> Weights {
  let ka = params.k_offset + keys.rows * params.k_stride + keys.kv_head * params.d4;
  let va = params.v_offset + keys.rows * params.v_stride + keys.kv_head * params.d4;
  let score = scores(qa, ka);
  let dp = value_products(oa, va);
  let p0 = weights(score[0], lse[line.x], attended(keys, t, rows.x));
  let p1 = weights(score[1], lse[line.y], attended(keys, t + 1u, rows.y));
  let p2 = weights(score[2], lse[line.z], attended(keys, t + 2u, rows.z));
  let p3 = weights(score[3], lse[line.w], attended(keys, t + 3u, rows.w));
  let ds0 = p0 * (dp[0] - delta_in[line.x]) * params.scale;
  let ds1 = p1 * (dp[1] - delta_in[line.y]) * params.scale;
  let ds2 = p2 * (dp[2] - delta_in[line.z]) * params.scale;
  let ds3 = p3 * (dp[3] - delta_in[line.w]) * params.scale;
  return Weights(transpose(mat4x4f(p0, p1, p2, p3)), transpose(mat4x4f(ds0, ds1, ds2, ds3)));
}

@compute @workgroup_size(WG)
fn dkv(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= ((params.t_kv + 3u) / 4u) * params.n_kv_heads) { return; }
  let keys = keys_of(i);
  let ga = params.dk_offset + keys.rows * params.dk_stride + keys.kv_head * params.d4;
  let gv = params.dv_offset + keys.rows * params.dv_stride + keys.kv_head * params.d4;
  let has_k = params.write_k != 0u;
  let has_v = params.write_v != 0u;
  for (var c = 0u; c < params.d4; c++) {
    if (has_k) {
      d_kv[ga.x + c] = vec4f();
      d_kv[ga.y + c] = vec4f();
      d_kv[ga.z + c] = vec4f();
      d_kv[ga.w + c] = vec4f();
    }
    if (has_v) {
      d_kv[gv.x + c] = vec4f();
      d_kv[gv.y + c] = vec4f();
      d_kv[gv.z + c] = vec4f();
      d_kv[gv.w + c] = vec4f();
    }
  }
  let begin = min(min(keys.range0.x, keys.range1.x), min(keys.range2.x, keys.range3.x));
  let end = min(max(max(keys.range0.y, keys.range1.y), max(keys.range2.y, keys.range3.y)), params.t_q);
  for (var h = keys.h_begin; h < keys.h_end; h++) {
    for (var t = begin; t < end; t += 4u) {
      let rows = min(t + NEXT4, vec4u(params.t_q - 1u));
      let line = rows * params.n_heads + h;
      let qa = params.q_offset + rows * params.q_stride + h * params.d4;
      let oa = line * params.d4;
      let w = tile_weights(keys, t, rows, line, qa, oa);
      for (var c = 0u; has_k && c < params.d4; c++) {
        let q0 = q[qa.x + c];
        let q1 = q[qa.y + c];
        let q2 = q[qa.z + c];
        let q3 = q[qa.w + c];
        d_kv[ga.x + c] = add_rows(d_kv[ga.x + c], w.ds[0], q0, q1, q2, q3);
        d_kv[ga.y + c] = add_rows(d_kv[ga.y + c], w.ds[1], q0, q1, q2, q3);
        d_kv[ga.z + c] = add_rows(d_kv[ga.z + c], w.ds[2], q0, q1, q2, q3);
        d_kv[ga.w + c] = add_rows(d_kv[ga.w + c], w.ds[3], q0, q1, q2, q3);
      }
      for (var c = 0u; has_v && c < params.d4; c++) {
        let g0 = d_out[oa.x + c];
        let g1 = d_out[oa.y + c];
        let g2 = d_out[oa.z + c];
        let g3 = d_out[oa.w + c];
        d_kv[gv.x + c] = add_rows(d_kv[gv.x + c], w.p[0], g0, g1, g2, g3);
        d_kv[gv.y + c] = add_rows(d_kv[gv.y + c], w.p[1], g0, g1, g2, g3);
        d_kv[gv.z + c] = add_rows(d_kv[gv.z + c], w.p[2], g0, g1, g2, g3);
        d_kv[gv.w + c] = add_rows(d_kv[gv.w + c], w.p[3], g0, g1, g2, g3);
      }
    }
  }
}
