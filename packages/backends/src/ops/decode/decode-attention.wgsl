// Attention of one new token a row to its keys in pages; a workgroup takes a row and the G query heads of one kv head, HV
// vec4s of heads. Eight subgroups take every eighth run of 32 keys with a softmax of their own (Dao et al., arXiv
// 2205.14135), joined at the end: scores a lane per key, values a lane per E columns. The result is the next product's
// operand. A row depends on nothing but its own keys.
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k_pool: array<vec4f>;
@group(0) @binding(2) var<storage, read> v_pool: array<vec2f>;
@group(0) @binding(3) var<storage, read> state: array<u32>;
@group(0) @binding(4) var<storage, read> page_table: array<u32>;
@group(0) @binding(5) var<storage, read_write> octets_out: array<f16>;

const LOWEST = -3.4028234e38;
// Columns of a lane.
const E = D / 32u;
var<workgroup> q4: array<vec4f, D * HV>;
var<workgroup> p4: array<vec4f, 256u * HV>;
var<workgroup> out4: array<vec4f, 8u * D * HV>;
var<workgroup> tops: array<vec4f, 8u * HV>;
var<workgroup> totals: array<vec4f, 8u * HV>;
var<workgroup> row_facts: vec2u;

fn key_row(line: u32, key: u32) -> u32 {
  let page = page_table[line * params.table_stride + (key >> params.page_bits)];
  return (page << params.page_bits) + (key & ((1u << params.page_bits) - 1u));
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let kv_head = group.x % params.kv_heads;
  let row = group.x / params.kv_heads;
  let subgroup = t / 32u;
  let lane = t % 32u;
  if (t == 0u) { row_facts = vec2u(state[row * 5u + 3u], state[row * 5u + 4u]); }
  for (var i = t; i < D * HV; i += 256u) {
    let column = i / HV;
    var x = vec4f();
    for (var e = 0u; e < 4u; e++) {
      let head = i % HV * 4u + e;
      if (head < G) { x[e] = q[((row * params.kv_heads + kv_head) * G + head) * D + column]; }
    }
    q4[i] = x * params.scale;
  }
  let facts = workgroupUniformLoad(&row_facts);
  let line = facts.x;
  let end = facts.y;
  let begin = max(end, params.window) - params.window;
  var top: array<vec4f, HV>;
  var sum: array<vec4f, HV>;
  var o: array<vec4f, E * HV>;
  for (var h = 0u; h < HV; h++) { top[h] = vec4f(LOWEST); }
  for (var base = begin; base < end; base += 256u) {
    let key = base + subgroup * 32u + lane;
    let inside = key < end;
    let source_row = key_row(line, min(key, end - 1u));
    var score: array<vec4f, HV>;
    let k_at = (source_row * params.kv_heads + kv_head) * (D / 4u);
    for (var c = 0u; c < times(D / 4u); c++) {
      let x = k_pool[k_at + c];
      for (var h = 0u; h < HV; h++) {
        let at = 4u * c * HV + h;
        score[h] = fma(q4[at + 3u * HV], vec4f(x.w), fma(q4[at + 2u * HV], vec4f(x.z),
          fma(q4[at + HV], vec4f(x.y), fma(q4[at], vec4f(x.x), score[h]))));
      }
    }
    for (var h = 0u; h < HV; h++) {
      let s = select(vec4f(LOWEST), score[h], inside);
      let next = max(top[h], most_of(s, t));
      let fade = exp2(top[h] - next);
      let p = select(vec4f(), exp2(s - next), inside);
      top[h] = next;
      sum[h] = fma(sum[h], fade, p);
      for (var e = 0u; e < E; e++) { o[e * HV + h] *= fade; }
      p4[t * HV + h] = p;
    }
    give_lanes(source_row, t);
    workgroupBarrier();
    for (var n = 0u; n < times(32u); n += 4u) {
      for (var m = 0u; m < times(4u); m++) {
        let v_row = lane_value(source_row, t, n + m);
        let v_at = ((v_row * params.kv_heads + kv_head) * D + lane * E) / 2u;
        for (var e = 0u; e < E; e += 2u) {
          let v = v_pool[v_at + e / 2u];
          for (var h = 0u; h < HV; h++) {
            let p = p4[(subgroup * 32u + n + m) * HV + h];
            o[e * HV + h] = fma(p, vec4f(v.x), o[e * HV + h]);
            o[(e + 1u) * HV + h] = fma(p, vec4f(v.y), o[(e + 1u) * HV + h]);
          }
        }
      }
    }
    workgroupBarrier();
  }
  for (var h = 0u; h < HV; h++) {
    let all = sum_of(sum[h], t);
    if (lane == 0u) {
      tops[subgroup * HV + h] = top[h];
      totals[subgroup * HV + h] = all;
    }
    for (var e = 0u; e < E; e++) { out4[(subgroup * D + lane * E + e) * HV + h] = o[e * HV + h]; }
  }
  workgroupBarrier();
  for (var i = t; i < D * HV; i += 256u) {
    let h = i % HV;
    var most = vec4f(LOWEST);
    for (var s = 0u; s < times(8u); s++) { most = max(most, tops[s * HV + h]); }
    var above = vec4f();
    var below = vec4f();
    for (var s = 0u; s < times(8u); s++) {
      let fade = exp2(tops[s * HV + h] - most);
      above = fma(out4[s * D * HV + i], fade, above);
      below = fma(totals[s * HV + h], fade, below);
    }
    let y = above / below;
    for (var e = 0u; e < 4u; e++) {
      if (h * 4u + e < G) {
        let column = (kv_head * G + h * 4u + e) * D + i / HV;
        octets_out[octet_at(row, column, params.n)] = half_of(y[e]);
      }
    }
  }
}
