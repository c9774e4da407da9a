// Attention with f16 operands and f32 sums, on the matrices of a subgroup of 32. A workgroup takes 64 rows, which are
// queries times the G heads of one kv head, and walks their keys in tiles of BK: four blocks of 16 rows by SN halves of D a
// subgroup. Scores go through workgroup memory, where 2·SN lanes share a row. The online softmax (arXiv 1805.02867) keeps a
// whole power of two as a row's reference; where a score is 2^14 above it, which is rare, it is raised and the workgroup starts
// again, because rows of sums in matrices can't be rescaled (in matrices that can, FlashAttention-4 rescales as rarely). Sequences are walked one by one from their first key: a row's bits do not
// depend on the rows beside it. D is 64 or 128. Offsets and strides count vec4s.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

// Queries, later the weights of a tile; keys; values.
var<workgroup> rows: array<vec4<f16>, 64u * LD>;
var<workgroup> tile_x: array<vec4<f16>, BK * LD>;
var<workgroup> tile_y: array<vec4<f16>, BK * LD>;
var<workgroup> scores: array<vec4f, 64u * S_LD>;
var<workgroup> row_factor: array<f32, 64>;
var<workgroup> ranges: array<vec2u, 64>;
var<workgroup> next_run: atomic<u32>;
var<workgroup> first_key: atomic<u32>;
var<workgroup> end_key: atomic<u32>;
var<workgroup> shared_run: vec3u;
var<workgroup> shared_moved: u32;

const LOWEST = -3.4028234e38;

@compute @workgroup_size(T)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let block = group.x + group.y * groups.x;
  let kv_head = block % params.n_kv_heads;
  let blocks = (params.t_q + QT - 1u) / QT;
  if (block / params.n_kv_heads >= blocks) { return; }
  // The last queries have the most keys: they start first.
  let t0 = (blocks - 1u - block / params.n_kv_heads) * QT;
  // Heads of this rank that use the kv head; the first `skip` of the group belong to the rank before.
  let first_head = (kv_head + params.kv_head_offset) * G;
  let h_begin = max(first_head, params.q_head_offset) - params.q_head_offset;
  let h_end = min(max(first_head + G, params.q_head_offset) - params.q_head_offset, params.n_heads);
  let skip = max(first_head, params.q_head_offset) - first_head;

  for (var i = t; i < 64u * D4; i += T) {
    let r = i / D4;
    let h = r % G - skip + h_begin;
    var x = vec4f();
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      x = q[params.q_offset + (t0 + r / G) * params.q_stride + h * D4 + i % D4] * (params.scale * LOG2E);
    }
    rows[r * LD + i % D4] = half4(x);
  }
  let row = t / LANES;
  let part = t % LANES;
  let my_query = t0 + row / G;
  let my_head = row % G - skip + h_begin;
  let mine = row < QT * G && my_query < params.t_q && row % G >= skip && my_head < h_end;
  var range = vec2u(0xffffffffu, 0u);
  if (row < QT * G && my_query < params.t_q) { range = range_of(my_query); }
  if (part == 0u) { ranges[row] = range; }
  workgroupBarrier();
  var starts = false;
  if (row >= G && range.x < range.y) {
    let before = ranges[row - G];
    starts = before.x >= before.y || range.x >= before.y;
  }
  let r0 = subgroup / SN * 16u;
  let column = subgroup % SN;
  let q0 = row_left(r0, 0u);
  let q1 = row_left(r0, 1u);
  let q2 = row_left(r0, 2u);
  let q3 = row_left(r0, 3u);
  var q4: Left;
  var q5: Left;
  var q6: Left;
  var q7: Left;
  if (D == 128u) {
    q4 = row_left(r0, 4u);
    q5 = row_left(r0, 5u);
    q6 = row_left(r0, 6u);
    q7 = row_left(r0, 7u);
  }
  var o0 = Sum();
  var o1 = Sum();
  var o2 = Sum();
  var o3 = Sum();
  let k_base = params.k_offset + kv_head * D4;
  let v_base = params.v_offset + kv_head * D4;
  // The reference, and this lane's share of the sum.
  var reference = LOWEST;
  var sum = 0.0;
  var run = 0u;
  while (run < 64u) {
    // Rows from `run` up to the next one whose keys begin where the row before has none: one sequence.
    workgroupBarrier();
    if (t == 0u) {
      atomicStore(&next_run, 64u);
      atomicStore(&first_key, 0xffffffffu);
      atomicStore(&end_key, 0u);
    }
    workgroupBarrier();
    if (starts && row > run) { atomicMin(&next_run, row); }
    workgroupBarrier();
    let stop = atomicLoad(&next_run);
    let inside_run = row >= run && row < stop && range.x < range.y;
    if (inside_run) {
      atomicMin(&first_key, range.x);
      atomicMax(&end_key, range.y);
    }
    workgroupBarrier();
    if (t == 0u) { shared_run = vec3u(atomicLoad(&first_key), atomicLoad(&end_key), stop); }
    let facts = workgroupUniformLoad(&shared_run);
    let begin = select(0xffffffffu, range.x, inside_run);
    let end = select(0u, range.y, inside_run);
    run = facts.z;
    var again = false;
    var x0 = vec4f();
    var x1 = vec4f();
    var x2 = vec4f();
    var x3 = vec4f();
    var x4 = vec4f();
    var x5 = vec4f();
    var x6 = vec4f();
    var x7 = vec4f();
    var y0 = vec4f();
    var y1 = vec4f();
    var y2 = vec4f();
    var y3 = vec4f();
    var y4 = vec4f();
    var y5 = vec4f();
    var y6 = vec4f();
    var y7 = vec4f();
    if (facts.x < facts.y) {
      x0 = k[k_base + min(facts.x + (t + 0u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      x1 = k[k_base + min(facts.x + (t + 1u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      x2 = k[k_base + min(facts.x + (t + 2u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      x3 = k[k_base + min(facts.x + (t + 3u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      if (FETCH == 8u) {
        x4 = k[k_base + min(facts.x + (t + 4u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
        x5 = k[k_base + min(facts.x + (t + 5u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
        x6 = k[k_base + min(facts.x + (t + 6u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
        x7 = k[k_base + min(facts.x + (t + 7u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      }
      y0 = v[v_base + min(facts.x + (t + 0u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      y1 = v[v_base + min(facts.x + (t + 1u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      y2 = v[v_base + min(facts.x + (t + 2u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      y3 = v[v_base + min(facts.x + (t + 3u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      if (FETCH == 8u) {
        y4 = v[v_base + min(facts.x + (t + 4u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
        y5 = v[v_base + min(facts.x + (t + 5u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
        y6 = v[v_base + min(facts.x + (t + 6u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
        y7 = v[v_base + min(facts.x + (t + 7u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      }
    }
    for (var s0 = facts.x; s0 < facts.y; s0 += BK) {
      workgroupBarrier();
      tile_x[(t + 0u * T) / D4 * LD + t % D4] = half4(x0);
      tile_x[(t + 1u * T) / D4 * LD + t % D4] = half4(x1);
      tile_x[(t + 2u * T) / D4 * LD + t % D4] = half4(x2);
      tile_x[(t + 3u * T) / D4 * LD + t % D4] = half4(x3);
      if (FETCH == 8u) {
        tile_x[(t + 4u * T) / D4 * LD + t % D4] = half4(x4);
        tile_x[(t + 5u * T) / D4 * LD + t % D4] = half4(x5);
        tile_x[(t + 6u * T) / D4 * LD + t % D4] = half4(x6);
        tile_x[(t + 7u * T) / D4 * LD + t % D4] = half4(x7);
      }
      tile_y[(t + 0u * T) / D4 * LD + t % D4] = half4(y0);
      tile_y[(t + 1u * T) / D4 * LD + t % D4] = half4(y1);
      tile_y[(t + 2u * T) / D4 * LD + t % D4] = half4(y2);
      tile_y[(t + 3u * T) / D4 * LD + t % D4] = half4(y3);
      if (FETCH == 8u) {
        tile_y[(t + 4u * T) / D4 * LD + t % D4] = half4(y4);
        tile_y[(t + 5u * T) / D4 * LD + t % D4] = half4(y5);
        tile_y[(t + 6u * T) / D4 * LD + t % D4] = half4(y6);
        tile_y[(t + 7u * T) / D4 * LD + t % D4] = half4(y7);
      }
      if (t == 0u) { shared_moved = 0u; }
      workgroupBarrier();
      x0 = k[k_base + min(s0 + BK + (t + 0u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      x1 = k[k_base + min(s0 + BK + (t + 1u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      x2 = k[k_base + min(s0 + BK + (t + 2u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      x3 = k[k_base + min(s0 + BK + (t + 3u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      if (FETCH == 8u) {
        x4 = k[k_base + min(s0 + BK + (t + 4u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
        x5 = k[k_base + min(s0 + BK + (t + 5u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
        x6 = k[k_base + min(s0 + BK + (t + 6u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
        x7 = k[k_base + min(s0 + BK + (t + 7u * T) / D4, facts.y - 1u) * params.k_stride + t % D4];
      }
      y0 = v[v_base + min(s0 + BK + (t + 0u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      y1 = v[v_base + min(s0 + BK + (t + 1u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      y2 = v[v_base + min(s0 + BK + (t + 2u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      y3 = v[v_base + min(s0 + BK + (t + 3u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      if (FETCH == 8u) {
        y4 = v[v_base + min(s0 + BK + (t + 4u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
        y5 = v[v_base + min(s0 + BK + (t + 5u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
        y6 = v[v_base + min(s0 + BK + (t + 6u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
        y7 = v[v_base + min(s0 + BK + (t + 7u * T) / D4, facts.y - 1u) * params.v_stride + t % D4];
      }
      {
        var s = multiply(q0, turned_x(0u, ST * column + 0u), Sum());
        s = multiply(q1, turned_x(1u, ST * column + 0u), s);
        s = multiply(q2, turned_x(2u, ST * column + 0u), s);
        s = multiply(q3, turned_x(3u, ST * column + 0u), s);
        if (D == 128u) {
          s = multiply(q4, turned_x(4u, ST * column + 0u), s);
          s = multiply(q5, turned_x(5u, ST * column + 0u), s);
          s = multiply(q6, turned_x(6u, ST * column + 0u), s);
          s = multiply(q7, turned_x(7u, ST * column + 0u), s);
        }
        spill(s, r0, ST * column + 0u);
      }
      if (ST >= 2u) {
        var s = multiply(q0, turned_x(0u, ST * column + 1u), Sum());
        s = multiply(q1, turned_x(1u, ST * column + 1u), s);
        s = multiply(q2, turned_x(2u, ST * column + 1u), s);
        s = multiply(q3, turned_x(3u, ST * column + 1u), s);
        if (D == 128u) {
          s = multiply(q4, turned_x(4u, ST * column + 1u), s);
          s = multiply(q5, turned_x(5u, ST * column + 1u), s);
          s = multiply(q6, turned_x(6u, ST * column + 1u), s);
          s = multiply(q7, turned_x(7u, ST * column + 1u), s);
        }
        spill(s, r0, ST * column + 1u);
      }
      if (ST == 4u) {
        var s = multiply(q0, turned_x(0u, ST * column + 2u), Sum());
        s = multiply(q1, turned_x(1u, ST * column + 2u), s);
        s = multiply(q2, turned_x(2u, ST * column + 2u), s);
        s = multiply(q3, turned_x(3u, ST * column + 2u), s);
        if (D == 128u) {
          s = multiply(q4, turned_x(4u, ST * column + 2u), s);
          s = multiply(q5, turned_x(5u, ST * column + 2u), s);
          s = multiply(q6, turned_x(6u, ST * column + 2u), s);
          s = multiply(q7, turned_x(7u, ST * column + 2u), s);
        }
        spill(s, r0, ST * column + 2u);
      }
      if (ST == 4u) {
        var s = multiply(q0, turned_x(0u, ST * column + 3u), Sum());
        s = multiply(q1, turned_x(1u, ST * column + 3u), s);
        s = multiply(q2, turned_x(2u, ST * column + 3u), s);
        s = multiply(q3, turned_x(3u, ST * column + 3u), s);
        if (D == 128u) {
          s = multiply(q4, turned_x(4u, ST * column + 3u), s);
          s = multiply(q5, turned_x(5u, ST * column + 3u), s);
          s = multiply(q6, turned_x(6u, ST * column + 3u), s);
          s = multiply(q7, turned_x(7u, ST * column + 3u), s);
        }
        spill(s, r0, ST * column + 3u);
      }
      workgroupBarrier();
      let at = row * S_LD + part;
      var top = LOWEST;
      var w0 = vec4f(LOWEST);
      var w1 = vec4f(LOWEST);
      var w2 = vec4f(LOWEST);
      var w3 = vec4f(LOWEST);
      var w4 = vec4f(LOWEST);
      var w5 = vec4f(LOWEST);
      var w6 = vec4f(LOWEST);
      var w7 = vec4f(LOWEST);
      w0 = masked(scores[at + 0u * LANES], s0 + 4u * (part + 0u * LANES), begin, end);
      w1 = masked(scores[at + 1u * LANES], s0 + 4u * (part + 1u * LANES), begin, end);
      if (PER >= 4u) {
        w2 = masked(scores[at + 2u * LANES], s0 + 4u * (part + 2u * LANES), begin, end);
        w3 = masked(scores[at + 3u * LANES], s0 + 4u * (part + 3u * LANES), begin, end);
      }
      if (PER == 8u) {
        w4 = masked(scores[at + 4u * LANES], s0 + 4u * (part + 4u * LANES), begin, end);
        w5 = masked(scores[at + 5u * LANES], s0 + 4u * (part + 5u * LANES), begin, end);
        w6 = masked(scores[at + 6u * LANES], s0 + 4u * (part + 6u * LANES), begin, end);
        w7 = masked(scores[at + 7u * LANES], s0 + 4u * (part + 7u * LANES), begin, end);
      }
      let m01 = max(max(w0, w1), max(w2, w3));
      let m = max(m01, max(max(w4, w5), max(w6, w7)));
      top = join_max(max(max(m.x, m.y), max(m.z, m.w)));
      if (top > LOWEST) {
        if (reference == LOWEST) {
          reference = ceil(top);
        } else if (top > reference + 14.0) {
          reference = ceil(top);
          // All that write write the same.
          shared_moved = 1u;
        }
      }
      var lane_sum = vec4f();
      w0 = weight(w0, reference); lane_sum += w0; rows[at + 0u * LANES] = vec4<f16>(w0);
      w1 = weight(w1, reference); lane_sum += w1; rows[at + 1u * LANES] = vec4<f16>(w1);
      if (PER >= 4u) {
        w2 = weight(w2, reference); lane_sum += w2; rows[at + 2u * LANES] = vec4<f16>(w2);
        w3 = weight(w3, reference); lane_sum += w3; rows[at + 3u * LANES] = vec4<f16>(w3);
      }
      if (PER == 8u) {
        w4 = weight(w4, reference); lane_sum += w4; rows[at + 4u * LANES] = vec4<f16>(w4);
        w5 = weight(w5, reference); lane_sum += w5; rows[at + 5u * LANES] = vec4<f16>(w5);
        w6 = weight(w6, reference); lane_sum += w6; rows[at + 6u * LANES] = vec4<f16>(w6);
        w7 = weight(w7, reference); lane_sum += w7; rows[at + 7u * LANES] = vec4<f16>(w7);
      }
      sum += (lane_sum.x + lane_sum.y) + (lane_sum.z + lane_sum.w);
      again = workgroupUniformLoad(&shared_moved) != 0u;
      if (again) { break; }
      for (var kk = 0u; kk < BK / 16u; kk++) {
        let p = weights(0u, r0, kk);
        o0 = multiply(p, straight_y(kk, 4u * column + 0u), o0);
        o1 = multiply(p, straight_y(kk, 4u * column + 1u), o1);
        o2 = multiply(p, straight_y(kk, 4u * column + 2u), o2);
        o3 = multiply(p, straight_y(kk, 4u * column + 3u), o3);
      }
    }
    if (again) {
      run = 0u;
      sum = 0.0;
      o0 = Sum();
      o1 = Sum();
      o2 = Sum();
      o3 = Sum();
    }
  }

  let total = join_sum(sum);
  workgroupBarrier();
  if (part == 0u) {
    row_factor[row] = select(0.0, 1.0 / total, total > 0.0);
    if (mine) { lse[my_query * params.n_heads + my_head] = select(0.0, (reference + log2(total)) / LOG2E, total > 0.0); }
  }
  workgroupBarrier();
  spill(o0, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      out[((t0 + r / G) * params.n_heads + h) * D4 + 16u * column + 0u + i % 4u] = scores[r * S_LD + 4u * column + i % 4u] * row_factor[r];
    }
  }
  workgroupBarrier();
  spill(o1, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      out[((t0 + r / G) * params.n_heads + h) * D4 + 16u * column + 4u + i % 4u] = scores[r * S_LD + 4u * column + i % 4u] * row_factor[r];
    }
  }
  workgroupBarrier();
  spill(o2, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      out[((t0 + r / G) * params.n_heads + h) * D4 + 16u * column + 8u + i % 4u] = scores[r * S_LD + 4u * column + i % 4u] * row_factor[r];
    }
  }
  workgroupBarrier();
  spill(o3, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      out[((t0 + r / G) * params.n_heads + h) * D4 + 16u * column + 12u + i % 4u] = scores[r * S_LD + 4u * column + i % 4u] * row_factor[r];
    }
  }
}

fn masked(x: vec4f, key: u32, begin: u32, end: u32) -> vec4f {
  return select(vec4f(LOWEST), x, (vec4u(key) + NEXT4 >= vec4u(begin)) & (vec4u(key) + NEXT4 < vec4u(end)));
}

fn weight(x: vec4f, reference: f32) -> vec4f { return select(vec4f(), exp2(x - reference), x > vec4f(LOWEST)); }
