// Backward of attention by recomputation (FlashAttention, Dao et al., arXiv 2205.14135): p = exp(s − lse),
// ds = p·(dOut·v − delta) with delta = dOut·out. `dq` also writes delta; `dkv` runs after it.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read> d_out: array<vec4f>;
@group(0) @binding(6) var<storage, read> out: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> delta: array<f32>;
@group(0) @binding(8) var<storage, read_write> d_q: array<vec4f>;
// dkv
@group(0) @binding(6) var<storage, read> q_range: array<vec2u>;
@group(0) @binding(7) var<storage, read> delta_in: array<f32>;
@group(0) @binding(8) var<storage, read_write> d_k: array<vec4f>;
@group(0) @binding(9) var<storage, read_write> d_v: array<vec4f>;

fn add4(a: vec4f) -> f32 { return (a.x + a.y) + (a.z + a.w); }

@compute @workgroup_size(WG)
fn dq(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.t_q * params.n_heads) { return; }
  let t = i % params.t_q;
  let h = i / params.t_q;
  let kv_head = (h + params.q_head_offset) / params.group - params.kv_head_offset;
  let range_at = params.range_offset + t * params.range_stride;
  let range = vec2u(kv_range[range_at], kv_range[range_at + 1u]);
  let q_at = params.q_offset + t * params.q_stride + h * D4;
  let o_at = (t * params.n_heads + h) * D4;
  let row_lse = lse[t * params.n_heads + h];
  var qv: array<vec4f, D4>;
  var go: array<vec4f, D4>;
  var acc: array<vec4f, D4>;
  var dot_out = vec4f();
  for (var c = 0u; c < D4; c++) {
    qv[c] = q[q_at + c] * params.scale;
    go[c] = d_out[o_at + c];
    dot_out += go[c] * out[o_at + c];
    acc[c] = vec4f();
  }
  let row_delta = add4(dot_out);
  delta[t * params.n_heads + h] = row_delta;
  for (var s = range.x; s < range.y; s++) {
    let k_at = params.k_offset + s * params.k_stride + kv_head * D4;
    let v_at = params.v_offset + s * params.v_stride + kv_head * D4;
    var score = vec4f();
    var dp = vec4f();
    for (var c = 0u; c < D4; c++) {
      score += qv[c] * k[k_at + c];
      dp += go[c] * v[v_at + c];
    }
    let ds = exp(add4(score) - row_lse) * (add4(dp) - row_delta);
    for (var c = 0u; c < D4; c++) { acc[c] += ds * k[k_at + c]; }
  }
  let at = params.dq_offset + t * params.dq_stride + h * D4;
  for (var c = 0u; c < D4; c++) { d_q[at + c] = acc[c] * params.scale; }
}

struct KeyGradient {
  k: array<vec4f, D4>,
  v: array<vec4f, D4>,
}

// Sums over the q heads of the group, then over the queries that attend to key s, both ascending.
fn key_gradient(s: u32, kv_head: u32) -> KeyGradient {
  var g: KeyGradient;
  let k_at = params.k_offset + s * params.k_stride + kv_head * D4;
  let v_at = params.v_offset + s * params.v_stride + kv_head * D4;
  var kv: array<vec4f, D4>;
  var vv: array<vec4f, D4>;
  for (var c = 0u; c < D4; c++) {
    kv[c] = k[k_at + c] * params.scale;
    vv[c] = v[v_at + c];
    g.k[c] = vec4f();
    g.v[c] = vec4f();
  }
  let queries = q_range[s];
  let first = (kv_head + params.kv_head_offset) * params.group;
  let h_begin = max(first, params.q_head_offset) - params.q_head_offset;
  let h_end = min(max(first + params.group, params.q_head_offset) - params.q_head_offset, params.n_heads);
  for (var h = h_begin; h < h_end; h++) {
    for (var t = queries.x; t < queries.y; t++) {
      let range_at = params.range_offset + t * params.range_stride;
  let range = vec2u(kv_range[range_at], kv_range[range_at + 1u]);
      if (s < range.x || s >= range.y) { continue; }
      let q_at = params.q_offset + t * params.q_stride + h * D4;
      let o_at = (t * params.n_heads + h) * D4;
      var score = vec4f();
      var dp = vec4f();
      for (var c = 0u; c < D4; c++) {
        score += q[q_at + c] * kv[c];
        dp += d_out[o_at + c] * vv[c];
      }
      let row = t * params.n_heads + h;
      let p = exp(add4(score) - lse[row]);
      let ds = p * (add4(dp) - delta_in[row]);
      for (var c = 0u; c < D4; c++) {
        g.k[c] += ds * q[q_at + c];
        g.v[c] += p * d_out[o_at + c];
      }
    }
  }
  return g;
}

@compute @workgroup_size(WG)
fn dkv(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.t_kv * params.n_kv_heads) { return; }
  let s = i % params.t_kv;
  let h = i / params.t_kv;
  let g = key_gradient(s, h);
  let k_at = params.dk_offset + s * params.dk_stride + h * D4;
  let v_at = params.dv_offset + s * params.dv_stride + h * D4;
  for (var c = 0u; c < D4; c++) {
    d_k[k_at + c] = g.k[c] * params.scale;
    d_k[v_at + c] = g.v[c];
  }
}

@compute @workgroup_size(WG)
fn dkv_apart(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.t_kv * params.n_kv_heads) { return; }
  let s = i % params.t_kv;
  let h = i / params.t_kv;
  let g = key_gradient(s, h);
  let k_at = params.dk_offset + s * params.dk_stride + h * D4;
  let v_at = params.dv_offset + s * params.dv_stride + h * D4;
  for (var c = 0u; c < D4; c++) {
    d_k[k_at + c] = g.k[c] * params.scale;
    d_v[v_at + c] = g.v[c];
  }
}
