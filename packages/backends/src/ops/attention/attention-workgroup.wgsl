// Attention for GPUs: a workgroup takes QT queries and the G heads that share one kv head, 4·RG rows in all, and walks
// the keys that any of them attends to in tiles of BK. Row r = rg + RG·i is component i of the vec4s of row group rg.
// The online softmax (Milakov & Gimelshein, arXiv 1805.02867) rescales by powers of two only, which is exact, and every
// sum runs over its columns or keys one by one, so a row's result depends on neither tiles nor constants: decoding and
// training agree bit for bit. D4 = KV·CV, BK = KS·TC. Offsets and strides count vec4s. Follows dense-keys.wgsl, or where a
// workgroup has one query paged-keys.wgsl.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

const LOWEST = -3.4028234e38;
const ROWS = 4u * RG;
// Rows of the shared key tile are one vec4 longer, so that neighbouring keys lie in different banks.
const PITCH = D4 + 1u;
// Vec4s of a tile that a lane brings; they are fetched a phase ahead.
const FETCH = (BK * D4 + WG - 1u) / WG;

var<workgroup> q4: array<vec4f, 4u * D4 * RG>;
var<workgroup> tile: array<vec4f, BK * PITCH>;
var<workgroup> p4: array<vec4f, BK * RG>;
var<workgroup> tops: array<vec4f, RG * KS>;
var<workgroup> top4: array<vec4f, RG>;
var<workgroup> fade4: array<vec4f, RG>;
var<workgroup> begin4: array<vec4u, RG>;
var<workgroup> end4: array<vec4u, RG>;
var<workgroup> covered: array<u32, BK>;
var<workgroup> first_key: atomic<u32>;
var<workgroup> end_key: atomic<u32>;
var<workgroup> gaps: atomic<u32>;
var<workgroup> any_covered: atomic<u32>;
var<workgroup> shared_facts: vec3u;
var<workgroup> shared_any: u32;

// 2^x for whole x ≤ 0, exactly; 0 below the smallest normal number.
fn power_of_two(x: vec4f) -> vec4f {
  let bits = vec4u(vec4<i32>(max(x, vec4f(-126.0))) + vec4<i32>(127)) << vec4u(23u);
  return select(bitcast<vec4f>(bits), vec4f(), x < vec4f(-126.0));
}

@compute @workgroup_size(WG)
fn main(
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
  // Scores come out in powers of two.
  let log2e_scale = params.scale * 1.4426950408889634;

  for (var i = lane; i < ROWS * D4; i += WG) {
    let r = i / D4;
    let c = i % D4;
    let t = t0 + r / G;
    let g = r % G;
    var x = vec4f();
    if (r < QT * G && t < params.t_q && g >= skip && g - skip + h_begin < h_end) {
      x = q[params.q_offset + t * params.q_stride + (g - skip + h_begin) * D4 + c] * log2e_scale;
    }
    for (var e = 0u; e < 4u; e++) { q4[(4u * c + e) * RG + r % RG][r / RG] = x[e]; }
  }
  for (var r = lane; r < ROWS; r += WG) {
    let t = t0 + r / G;
    let g = r % G;
    var range = vec2u(0xffffffffu, 0u);
    if (r < QT * G && t < params.t_q && g >= skip && g - skip + h_begin < h_end) { range = range_of(t); }
    begin4[r % RG][r / RG] = range.x;
    end4[r % RG][r / RG] = range.y;
  }
  if (lane == 0u) {
    atomicStore(&first_key, 0xffffffffu);
    atomicStore(&end_key, 0u);
    atomicStore(&gaps, 0u);
  }
  workgroupBarrier();
  // A union of ranges with gaps may hold keys that nobody attends to and nobody wrote.
  for (var i = lane; i < QT; i += WG) {
    let t = t0 + i;
    if (t < params.t_q) {
      let range = range_of(t);
      if (range.x < range.y) {
        atomicMin(&first_key, range.x);
        atomicMax(&end_key, range.y);
      }
      if (i + 1u < QT && t + 1u < params.t_q) {
        let next = range_of(t + 1u);
        if (next.x < range.x || next.x > range.y || next.y < range.y) { atomicOr(&gaps, 1u); }
      }
    }
  }
  workgroupBarrier();
  if (lane == 0u) { shared_facts = vec3u(atomicLoad(&first_key), atomicLoad(&end_key), atomicLoad(&gaps)); }
  let facts = workgroupUniformLoad(&shared_facts);

  let s_rg = lane / KS;
  let s_kg = lane % KS;
  let o_rg = lane / KV;
  let o_cg = lane % KV;
  let k_base = params.k_offset + kv_head * D4;
  let v_base = params.v_offset + kv_head * D4;
  for (var i = lane; i < RG; i += WG) { top4[i] = vec4f(LOWEST); }
  var sum = vec4f();
  var o: array<vec4f, 4u * CV>;
  for (var i = 0u; i < 4u * CV; i++) { o[i] = vec4f(); }

  var ahead: array<vec4f, FETCH>;
  for (var n = 0u; n < FETCH && facts.x < facts.y; n++) {
    let i = lane + n * WG;
    ahead[n] = k[k_base + key_row(t0, min(facts.x + i / D4, facts.y - 1u)) * params.k_stride + i % D4];
  }
  for (var s0 = facts.x; s0 < facts.y; s0 += BK) {
    if (facts.z != 0u) {
      if (lane == 0u) { atomicStore(&any_covered, 0u); }
      workgroupBarrier();
      for (var j = lane; j < BK; j += WG) {
        var hit = 0u;
        for (var i = 0u; i < QT; i++) {
          if (t0 + i < params.t_q) {
            let range = range_of(t0 + i);
            if (s0 + j >= range.x && s0 + j < range.y) { hit = 1u; }
          }
        }
        covered[j] = hit;
        if (hit != 0u) { atomicStore(&any_covered, 1u); }
      }
      workgroupBarrier();
      if (lane == 0u) { shared_any = atomicLoad(&any_covered); }
      if (workgroupUniformLoad(&shared_any) == 0u) { continue; }
      for (var n = 0u; n < FETCH; n++) {
        let i = lane + n * WG;
        ahead[n] = k[k_base + key_row(t0, min(s0 + i / D4, facts.y - 1u)) * params.k_stride + i % D4];
      }
    }
    for (var n = 0u; n < FETCH; n++) {
      let i = lane + n * WG;
      if (i < BK * D4) { tile[(i / D4) * PITCH + i % D4] = ahead[n]; }
    }
    workgroupBarrier();
    for (var n = 0u; n < FETCH; n++) {
      let i = lane + n * WG;
      ahead[n] = v[v_base + key_row(t0, min(s0 + i / D4, facts.y - 1u)) * params.v_stride + i % D4];
    }

    var t: array<vec4f, TC>;
    if (lane < RG * KS) {
      for (var j = 0u; j < TC; j++) { t[j] = vec4f(); }
      for (var c = 0u; c < D4; c++) {
        let q0 = q4[(4u * c) * RG + s_rg];
        let q1 = q4[(4u * c + 1u) * RG + s_rg];
        let q2 = q4[(4u * c + 2u) * RG + s_rg];
        let q3 = q4[(4u * c + 3u) * RG + s_rg];
        for (var j = 0u; j < TC; j++) {
          let x = tile[(s_kg + KS * j) * PITCH + c];
          t[j] = fma(q3, vec4f(x.w), fma(q2, vec4f(x.z), fma(q1, vec4f(x.y), fma(q0, vec4f(x.x), t[j]))));
        }
      }
      var top = vec4f(LOWEST);
      for (var j = 0u; j < TC; j++) {
        let key = vec4u(s0 + s_kg + KS * j);
        let inside = (key >= begin4[s_rg]) & (key < end4[s_rg]);
        t[j] = select(vec4f(LOWEST), t[j], inside);
        top = max(top, t[j]);
      }
      tops[lane] = top;
    }
    workgroupBarrier();
    for (var rg = lane; rg < RG; rg += WG) {
      var top = vec4f(LOWEST);
      for (var j = 0u; j < KS; j++) { top = max(top, tops[rg * KS + j]); }
      let before = top4[rg];
      top = max(before, floor(top));
      top4[rg] = top;
      fade4[rg] = power_of_two(before - top);
    }
    workgroupBarrier();
    if (lane < RG * KS) {
      let top = top4[s_rg];
      for (var j = 0u; j < TC; j++) {
        let whole = floor(t[j]);
        let p = exp2(t[j] - whole) * power_of_two(whole - top);
        p4[(s_kg + KS * j) * RG + s_rg] = select(p, vec4f(), t[j] == vec4f(LOWEST));
      }
    }
    for (var n = 0u; n < FETCH; n++) {
      let i = lane + n * WG;
      if (i < BK * D4) {
        // Covered or not is known by key; those past the end repeat the last one.
        let key = min(i / D4, facts.y - 1u - s0);
        let bad = facts.z != 0u && covered[key] == 0u;
        tile[(i / D4) * PITCH + i % D4] = select(ahead[n], vec4f(), bad);
      }
    }
    workgroupBarrier();
    for (var n = 0u; n < FETCH; n++) {
      let i = lane + n * WG;
      ahead[n] = k[k_base + key_row(t0, min(s0 + BK + i / D4, facts.y - 1u)) * params.k_stride + i % D4];
    }
    if (lane < RG * KV) {
      let fade = fade4[o_rg];
      sum *= fade;
      for (var i = 0u; i < 4u; i++) {
        for (var c = 0u; c < CV; c++) { o[i * CV + c] *= fade[i]; }
      }
      for (var j = 0u; j < BK; j++) {
        let p = p4[j * RG + o_rg];
        sum += p;
        for (var c = 0u; c < CV; c++) {
          let x = tile[j * PITCH + o_cg + KV * c];
          for (var i = 0u; i < 4u; i++) { o[i * CV + c] = fma(vec4f(p[i]), x, o[i * CV + c]); }
        }
      }
    }
    workgroupBarrier();
  }

  if (lane >= RG * KV) { return; }
  for (var i = 0u; i < 4u; i++) {
    let r = o_rg + RG * i;
    let t = t0 + r / G;
    let g = r % G;
    if (r < QT * G && t < params.t_q && g >= skip && g - skip + h_begin < h_end) {
      let row = t * params.n_heads + g - skip + h_begin;
      let empty = begin4[o_rg][i] >= end4[o_rg][i];
      let inverse = 1.0 / sum[i];
      for (var c = 0u; c < CV; c++) {
        out[row * D4 + o_cg + KV * c] = select(o[i * CV + c] * inverse, vec4f(), empty);
      }
      if (o_cg == 0u) {
        lse[row] = select((top4[o_rg][i] + log2(sum[i])) * 0.6931471805599453, 0.0, empty);
      }
    }
  }
}
