// Softmax attention, one invocation per (query, head), keys in tiles of four from the start of the query's
// range with the online softmax (Milakov & Gimelshein, arXiv 1805.02867). Offsets and strides count vec4s.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LOWEST = -3.4028234e38;

fn add4(a: vec4f) -> f32 { return (a.x + a.y) + (a.z + a.w); }

// Writes the output row of (t, h); returns its log-sum-exp.
fn attend(t: u32, h: u32) -> f32 {
  let kv_head = (h + params.q_head_offset) / params.group - params.kv_head_offset;
  let range_at = params.range_offset + t * params.range_stride;
  let range = vec2u(kv_range[range_at], kv_range[range_at + 1u]);
  let q_at = params.q_offset + t * params.q_stride + h * D4;
  let k_base = params.k_offset + kv_head * D4;
  let v_base = params.v_offset + kv_head * D4;
  let o_at = (t * params.n_heads + h) * D4;
  var qv: array<vec4f, D4>;
  var acc: array<vec4f, D4>;
  for (var c = 0u; c < D4; c++) {
    qv[c] = q[q_at + c] * params.scale;
    acc[c] = vec4f();
  }
  var m = LOWEST;
  var sum = 0.0;
  for (var s = range.x; s < range.y; s += 4u) {
    // Keys past the end repeat the last one and weigh nothing.
    let rows = min(s + vec4u(0u, 1u, 2u, 3u), vec4u(range.y - 1u));
    let ka = k_base + rows * params.k_stride;
    var a0 = vec4f();
    var a1 = vec4f();
    var a2 = vec4f();
    var a3 = vec4f();
    for (var c = 0u; c < D4; c++) {
      let x = qv[c];
      a0 += x * k[ka.x + c];
      a1 += x * k[ka.y + c];
      a2 += x * k[ka.z + c];
      a3 += x * k[ka.w + c];
    }
    let inside = s + vec4u(0u, 1u, 2u, 3u) < vec4u(range.y);
    let score = select(vec4f(LOWEST), vec4f(add4(a0), add4(a1), add4(a2), add4(a3)), inside);
    let top = max(m, max(max(score.x, score.y), max(score.z, score.w)));
    let fade = exp(m - top);
    let p = select(vec4f(), exp(score - top), inside);
    sum = sum * fade + add4(p);
    m = top;
    let va = v_base + rows * params.v_stride;
    for (var c = 0u; c < D4; c++) {
      acc[c] = acc[c] * fade + p.x * v[va.x + c] + p.y * v[va.y + c] + p.z * v[va.z + c] + p.w * v[va.w + c];
    }
  }
  let empty = range.x >= range.y;
  let inverse = select(1.0 / sum, 0.0, empty);
  for (var c = 0u; c < D4; c++) { out[o_at + c] = acc[c] * inverse; }
  return select(m + log(sum), 0.0, empty);
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.t_q * params.n_heads) { return; }
  _ = attend(i % params.t_q, i / params.t_q);
}

@compute @workgroup_size(WG)
fn main_with_lse(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.t_q * params.n_heads) { return; }
  let t = i % params.t_q;
  let h = i / params.t_q;
  lse[t * params.n_heads + h] = attend(t, h);
}
