// Softmax attention, one invocation per head and one (`one`) or four (`four`) queries. Keys come in tiles of four from
// the start of the query's range, with the online softmax (Milakov & Gimelshein, arXiv 1805.02867), in the same order
// in both forms. The output rows hold the running sums, so no array lives in registers and head_dim is a parameter.
// Offsets and strides count vec4s. Follows dense-keys.wgsl or paged-keys.wgsl, which bring `range_of(t)`, the rows of
// keys, `key_rows(t, keys)`, and `same_keys(t, u)`: whether the ranges of t and u begin at the same key.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LOWEST = -3.4028234e38;
const NEXT4 = vec4u(0u, 1u, 2u, 3u);

// The running maximum and sum of one query after a tile, the tile's weights, and what the older sums fade to.
struct Step {
  top: f32,
  sum: f32,
  fade: f32,
  p: vec4f,
}

fn advance(before: Step, score: vec4f, inside: vec4<bool>) -> Step {
  let s = select(vec4f(LOWEST), score * params.scale, inside);
  let top = max(before.top, max(max(s.x, s.y), max(s.z, s.w)));
  let fade = exp(before.top - top);
  let p = select(vec4f(), exp(s - top), inside);
  return Step(top, before.sum * fade + ((p.x + p.y) + (p.z + p.w)), fade, p);
}

fn blend(first: bool, o_at: u32, step: Step, v0: vec4f, v1: vec4f, v2: vec4f, v3: vec4f) {
  let before = select(out[o_at] * step.fade, vec4f(), first);
  out[o_at] = before + step.p.x * v0 + step.p.y * v1 + step.p.z * v2 + step.p.w * v3;
}

// Divides the row by its sum and writes its log-sum-exp; an empty range gives zeros.
fn finish(t: u32, h: u32, step: Step, range: vec2u) {
  let row = t * params.n_heads + h;
  let empty = range.x >= range.y;
  let inverse = 1.0 / step.sum;
  for (var c = 0u; c < params.d4; c++) {
    out[row * params.d4 + c] = select(out[row * params.d4 + c] * inverse, vec4f(), empty);
  }
  lse[row] = select(step.top + log(step.sum), 0.0, empty);
}

fn kv_head_of(h: u32) -> u32 {
  return (h + params.q_head_offset) / params.group - params.kv_head_offset;
}

fn attend_one(t: u32, h: u32) {
  let range = range_of(t);
  let q_at = params.q_offset + t * params.q_stride + h * params.d4;
  let k_base = params.k_offset + kv_head_of(h) * params.d4;
  let v_base = params.v_offset + kv_head_of(h) * params.d4;
  let o_at = (t * params.n_heads + h) * params.d4;
  var step = Step(LOWEST, 0.0, 0.0, vec4f());
  for (var s = range.x; s < range.y; s += 4u) {
    // Keys past the end repeat the last one and weigh nothing.
    let keys = key_rows(t, min(s + NEXT4, vec4u(range.y - 1u)));
    let ka = k_base + keys * params.k_stride;
    let va = v_base + keys * params.v_stride;
    var score = vec4f();
    for (var c = 0u; c < params.d4; c++) {
      let x = q[q_at + c];
      score += vec4f(dot(x, k[ka.x + c]), dot(x, k[ka.y + c]), dot(x, k[ka.z + c]), dot(x, k[ka.w + c]));
    }
    step = advance(step, score, s + NEXT4 < vec4u(range.y));
    for (var c = 0u; c < params.d4; c++) {
      blend(s == range.x, o_at + c, step, v[va.x + c], v[va.y + c], v[va.z + c], v[va.w + c]);
    }
  }
  finish(t, h, step, range);
}

// Four queries whose ranges begin at the same key.
fn attend_four(t: u32, h: u32) {
  let begin = range_of(t).x;
  let ends = vec4u(range_of(t).y, range_of(t + 1u).y, range_of(t + 2u).y, range_of(t + 3u).y);
  let end = max(max(ends.x, ends.y), max(ends.z, ends.w));
  let qa = params.q_offset + (t + NEXT4) * params.q_stride + h * params.d4;
  let k_base = params.k_offset + kv_head_of(h) * params.d4;
  let v_base = params.v_offset + kv_head_of(h) * params.d4;
  let oa = ((t + NEXT4) * params.n_heads + h) * params.d4;
  var step0 = Step(LOWEST, 0.0, 0.0, vec4f());
  var step1 = step0;
  var step2 = step0;
  var step3 = step0;
  for (var s = begin; s < end; s += 4u) {
    let keys = key_rows(t, min(s + NEXT4, vec4u(end - 1u)));
    let ka = k_base + keys * params.k_stride;
    let va = v_base + keys * params.v_stride;
    var score0 = vec4f();
    var score1 = vec4f();
    var score2 = vec4f();
    var score3 = vec4f();
    for (var c = 0u; c < params.d4; c++) {
      let k0 = k[ka.x + c];
      let k1 = k[ka.y + c];
      let k2 = k[ka.z + c];
      let k3 = k[ka.w + c];
      let x0 = q[qa.x + c];
      let x1 = q[qa.y + c];
      let x2 = q[qa.z + c];
      let x3 = q[qa.w + c];
      score0 += vec4f(dot(x0, k0), dot(x0, k1), dot(x0, k2), dot(x0, k3));
      score1 += vec4f(dot(x1, k0), dot(x1, k1), dot(x1, k2), dot(x1, k3));
      score2 += vec4f(dot(x2, k0), dot(x2, k1), dot(x2, k2), dot(x2, k3));
      score3 += vec4f(dot(x3, k0), dot(x3, k1), dot(x3, k2), dot(x3, k3));
    }
    step0 = advance(step0, score0, s + NEXT4 < vec4u(ends.x));
    step1 = advance(step1, score1, s + NEXT4 < vec4u(ends.y));
    step2 = advance(step2, score2, s + NEXT4 < vec4u(ends.z));
    step3 = advance(step3, score3, s + NEXT4 < vec4u(ends.w));
    for (var c = 0u; c < params.d4; c++) {
      let v0 = v[va.x + c];
      let v1 = v[va.y + c];
      let v2 = v[va.z + c];
      let v3 = v[va.w + c];
      blend(s == begin, oa.x + c, step0, v0, v1, v2, v3);
      blend(s == begin, oa.y + c, step1, v0, v1, v2, v3);
      blend(s == begin, oa.z + c, step2, v0, v1, v2, v3);
      blend(s == begin, oa.w + c, step3, v0, v1, v2, v3);
    }
  }
  finish(t, h, step0, vec2u(begin, ends.x));
  finish(t + 1u, h, step1, vec2u(begin, ends.y));
  finish(t + 2u, h, step2, vec2u(begin, ends.z));
  finish(t + 3u, h, step3, vec2u(begin, ends.w));
}

@compute @workgroup_size(WG)
fn one(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.t_q * params.n_heads) { attend_one(i / params.n_heads, i % params.n_heads); }
}

@compute @workgroup_size(WG)
fn four(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  let blocks = (params.t_q + 3u) / 4u;
  if (i >= blocks * params.n_heads) { return; }
  let t = 4u * (i % blocks);
  let h = i / blocks;
  let last = params.t_q - 1u;
  if (t + 3u <= last && same_keys(t, t + 1u) && same_keys(t, t + 2u) && same_keys(t, t + 3u)) {
    attend_four(t, h);
  } else {
    for (var r = t; r <= min(t + 3u, last); r++) { attend_one(r, h); }
  }
}
