// Attention with f16 operands and f32 sums, on the matrices of a subgroup of 32. A workgroup takes R rows, which are
// queries times the G heads of one kv head, and walks their keys in tiles of BK: blocks of 16 rows by SN halves of D a
// subgroup. Scores go through workgroup memory, where 2·SN lanes share a row. The online softmax (arXiv 1805.02867) keeps a
// whole power of two as a row's reference; where a score is 2^14 above it, which is rare, it is raised and the workgroup does
// all again, because rows of sums in matrices can't be rescaled (in matrices that can, FlashAttention-4 rescales as rarely).
// Sequences are walked one by one from their first key: a row's bits do not depend on the rows beside it.
// A tile has two barriers: keys of the next tile and values of this one are stored between them, when nobody reads them.
// D is 64 or 128. Offsets and strides count vec4s; KV is the type in which keys and values are stored.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<KV>;
@group(0) @binding(2) var<storage, read> v: array<KV>;
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

// A part of the queries, later the weights of a tile; keys; values.
var<workgroup> rows: array<vec4<f16>, R * S_LD>;
var<workgroup> tile_x: array<vec4<f16>, BK * LD>;
var<workgroup> tile_y: array<vec4<f16>, BK * LD>;
var<workgroup> scores: array<vec4f, R * S_LD>;
var<workgroup> row_factor: array<f32, R>;
var<workgroup> next_run: atomic<u32>;
var<workgroup> first_key: atomic<u32>;
var<workgroup> end_key: atomic<u32>;
var<workgroup> shared_run: vec3u;
var<workgroup> shared_moved: u32;

const LOWEST = -3.4028234e38;
// Matrices of sums of a subgroup.
const OT = D4 / 4u / SN;

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

  let row = t / LANES;
  let part = t % LANES;
  let my_query = t0 + row / G;
  let my_head = row % G - skip + h_begin;
  let valid = row < QT * G && my_query < params.t_q;
  let mine = valid && row % G >= skip && my_head < h_end;
  var range = vec2u(0xffffffffu, 0u);
  if (valid) { range = range_of(my_query); }
  // Does a sequence start here, with keys that the row before does not have?
  var starts = false;
  if (valid && row >= G && range.x < range.y) {
    let before = range_of(my_query - 1u);
    starts = before.x >= before.y || range.x >= before.y;
  }
  let r0 = subgroup / SN * 16u;
  let column = subgroup % SN;
  // Keys of the 16 rows of this subgroup: tiles without any of them are passed over.
  var block_range = vec2u(0xffffffffu, 0u);
  let my_block_query = t0 + (r0 + lane % 16u) / G;
  if (r0 + lane % 16u < QT * G && my_block_query < params.t_q) {
    let x = range_of(my_block_query);
    if (x.x < x.y) { block_range = x; }
  }
  block_range = vec2u(subgroupMin(block_range.x), subgroupMax(block_range.y));

  stage(0u, t, t0, skip, h_begin, h_end);
  let q0 = weights(0u, r0, 0u);
  let q1 = weights(0u, r0, 1u);
  stage(1u, t, t0, skip, h_begin, h_end);
  let q2 = weights(0u, r0, 0u);
  let q3 = weights(0u, r0, 1u);
  var q4: Left;
  var q5: Left;
  var q6: Left;
  var q7: Left;
  if (D == 128u) {
    stage(2u, t, t0, skip, h_begin, h_end);
    q4 = weights(0u, r0, 0u);
    q5 = weights(0u, r0, 1u);
    stage(3u, t, t0, skip, h_begin, h_end);
    q6 = weights(0u, r0, 0u);
    q7 = weights(0u, r0, 1u);
  }
  var o0 = Sum();
  var o1 = Sum();
  var o2 = Sum();
  var o3 = Sum();
  var o4 = Sum();
  var o5 = Sum();
  var o6 = Sum();
  var o7 = Sum();
  let k_base = params.k_offset + kv_head * D4 + t % D4;
  let v_base = params.v_offset + kv_head * D4 + t % D4;
  let tile_at = t / D4 * LD + t % D4;
  // The reference, and this lane's share of the sum.
  var reference = LOWEST;
  var sum = 0.0;
  var run = 0u;
  while (run < R) {
    // Rows from `run` up to the next one whose keys begin where the row before has none: one sequence.
    workgroupBarrier();
    if (t == 0u) {
      if (run == 0u) { shared_moved = 0u; }
      atomicStore(&next_run, R);
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
    var x0: KV;
    var x1: KV;
    var x2: KV;
    var x3: KV;
    var y0: KV;
    var y1: KV;
    var y2: KV;
    var y3: KV;
    if (facts.x < facts.y) {
      let last = facts.y - 1u;
      x0 = k[k_base + min(facts.x + (t + 0u * T) / D4, last) * params.k_stride];
      y0 = v[v_base + min(facts.x + (t + 0u * T) / D4, last) * params.v_stride];
      if (FETCH >= 2u) {
        x1 = k[k_base + min(facts.x + (t + 1u * T) / D4, last) * params.k_stride];
        y1 = v[v_base + min(facts.x + (t + 1u * T) / D4, last) * params.v_stride];
      }
      if (FETCH == 4u) {
        x2 = k[k_base + min(facts.x + (t + 2u * T) / D4, last) * params.k_stride];
        x3 = k[k_base + min(facts.x + (t + 3u * T) / D4, last) * params.k_stride];
        y2 = v[v_base + min(facts.x + (t + 2u * T) / D4, last) * params.v_stride];
        y3 = v[v_base + min(facts.x + (t + 3u * T) / D4, last) * params.v_stride];
      }
      tile_x[tile_at] = as_half(x0);
      if (FETCH >= 2u) { tile_x[tile_at + 1u * T / D4 * LD] = as_half(x1); }
      if (FETCH == 4u) {
        tile_x[tile_at + 2u * T / D4 * LD] = as_half(x2);
        tile_x[tile_at + 3u * T / D4 * LD] = as_half(x3);
      }
      x0 = k[k_base + min(facts.x + BK + (t + 0u * T) / D4, last) * params.k_stride];
      if (FETCH >= 2u) { x1 = k[k_base + min(facts.x + BK + (t + 1u * T) / D4, last) * params.k_stride]; }
      if (FETCH == 4u) {
        x2 = k[k_base + min(facts.x + BK + (t + 2u * T) / D4, last) * params.k_stride];
        x3 = k[k_base + min(facts.x + BK + (t + 3u * T) / D4, last) * params.k_stride];
      }
    }
    workgroupBarrier();
    for (var s0 = facts.x; s0 < facts.y; s0 += BK) {
      let needed = s0 < block_range.y && s0 + BK > block_range.x;
      if (needed) {
        {
          var s = multiply(q0, turned_x(0u, ST * column), Sum());
          s = multiply(q1, turned_x(1u, ST * column), s);
          s = multiply(q2, turned_x(2u, ST * column), s);
          s = multiply(q3, turned_x(3u, ST * column), s);
          if (D == 128u) {
            s = multiply(q4, turned_x(4u, ST * column), s);
            s = multiply(q5, turned_x(5u, ST * column), s);
            s = multiply(q6, turned_x(6u, ST * column), s);
            s = multiply(q7, turned_x(7u, ST * column), s);
          }
          spill(s, r0, ST * column);
        }
        if (ST == 2u) {
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
      }
      workgroupBarrier();
      let last = facts.y - 1u;
      tile_x[tile_at] = as_half(x0);
      tile_y[tile_at] = as_half(y0);
      if (FETCH >= 2u) {
        tile_x[tile_at + 1u * T / D4 * LD] = as_half(x1);
        tile_y[tile_at + 1u * T / D4 * LD] = as_half(y1);
      }
      if (FETCH == 4u) {
        tile_x[tile_at + 2u * T / D4 * LD] = as_half(x2);
        tile_x[tile_at + 3u * T / D4 * LD] = as_half(x3);
        tile_y[tile_at + 2u * T / D4 * LD] = as_half(y2);
        tile_y[tile_at + 3u * T / D4 * LD] = as_half(y3);
      }
      x0 = k[k_base + min(s0 + 2u * BK + (t + 0u * T) / D4, last) * params.k_stride];
      y0 = v[v_base + min(s0 + BK + (t + 0u * T) / D4, last) * params.v_stride];
      if (FETCH >= 2u) {
        x1 = k[k_base + min(s0 + 2u * BK + (t + 1u * T) / D4, last) * params.k_stride];
        y1 = v[v_base + min(s0 + BK + (t + 1u * T) / D4, last) * params.v_stride];
      }
      if (FETCH == 4u) {
        x2 = k[k_base + min(s0 + 2u * BK + (t + 2u * T) / D4, last) * params.k_stride];
        x3 = k[k_base + min(s0 + 2u * BK + (t + 3u * T) / D4, last) * params.k_stride];
        y2 = v[v_base + min(s0 + BK + (t + 2u * T) / D4, last) * params.v_stride];
        y3 = v[v_base + min(s0 + BK + (t + 3u * T) / D4, last) * params.v_stride];
      }
      let at = row * S_LD + part;
      var w0 = masked(scores[at + 0u * LANES], s0 + 4u * (part + 0u * LANES), begin, end);
      var w1 = masked(scores[at + 1u * LANES], s0 + 4u * (part + 1u * LANES), begin, end);
      var w2 = vec4f(LOWEST);
      var w3 = vec4f(LOWEST);
      if (PER == 4u) {
        w2 = masked(scores[at + 2u * LANES], s0 + 4u * (part + 2u * LANES), begin, end);
        w3 = masked(scores[at + 3u * LANES], s0 + 4u * (part + 3u * LANES), begin, end);
      }
      let m = max(max(w0, w1), max(w2, w3));
      let top = join_max(max(max(m.x, m.y), max(m.z, m.w)));
      if (top > LOWEST) {
        if (reference == LOWEST) {
          reference = ceil(top);
        } else if (top > reference + 14.0) {
          reference = ceil(top);
          // All that write write the same.
          shared_moved = 1u;
        }
      }
      w0 = weight(w0, reference);
      w1 = weight(w1, reference);
      var lane_sum = w0 + w1;
      rows[at + 0u * LANES] = vec4<f16>(w0);
      rows[at + 1u * LANES] = vec4<f16>(w1);
      if (PER == 4u) {
        w2 = weight(w2, reference);
        w3 = weight(w3, reference);
        lane_sum += w2 + w3;
        rows[at + 2u * LANES] = vec4<f16>(w2);
        rows[at + 3u * LANES] = vec4<f16>(w3);
      }
      sum += (lane_sum.x + lane_sum.y) + (lane_sum.z + lane_sum.w);
      workgroupBarrier();
      if (needed) {
        for (var kk = 0u; kk < BK / 16u; kk++) {
          let p = weights(0u, r0, kk);
          o0 = multiply(p, straight_y(kk, OT * column + 0u), o0);
          o1 = multiply(p, straight_y(kk, OT * column + 1u), o1);
          o2 = multiply(p, straight_y(kk, OT * column + 2u), o2);
          o3 = multiply(p, straight_y(kk, OT * column + 3u), o3);
          if (OT == 8u) {
            o4 = multiply(p, straight_y(kk, OT * column + 4u), o4);
            o5 = multiply(p, straight_y(kk, OT * column + 5u), o5);
            o6 = multiply(p, straight_y(kk, OT * column + 6u), o6);
            o7 = multiply(p, straight_y(kk, OT * column + 7u), o7);
          }
        }
      }
    }
    if (run >= R && workgroupUniformLoad(&shared_moved) != 0u) {
      // Every reference is high enough now: once more is enough.
      run = 0u;
      sum = 0.0;
      o0 = Sum();
      o1 = Sum();
      o2 = Sum();
      o3 = Sum();
      if (OT == 8u) {
        o4 = Sum();
        o5 = Sum();
        o6 = Sum();
        o7 = Sum();
      }
    }
  }

  let total = join_sum(sum);
  if (part == 0u) {
    row_factor[row] = select(0.0, 1.0 / total, total > 0.0);
    if (mine) { lse[my_query * params.n_heads + my_head] = select(0.0, (reference + log2(total)) / LOG2E, total > 0.0); }
  }
  let place = Place(t0, skip, h_begin, h_end, r0, column, lane);
  write_out(o0, 0u, place);
  write_out(o1, 1u, place);
  write_out(o2, 2u, place);
  write_out(o3, 3u, place);
  if (OT == 8u) {
    write_out(o4, 4u, place);
    write_out(o5, 5u, place);
    write_out(o6, 6u, place);
    write_out(o7, 7u, place);
  }
}

// Where the rows of a subgroup are in q and out.
struct Place { t0: u32, skip: u32, h_begin: u32, h_end: u32, r0: u32, column: u32, lane: u32 }

// The 32 columns of q from 32·j on, scaled, into `rows`.
fn stage(j: u32, t: u32, t0: u32, skip: u32, h_begin: u32, h_end: u32) {
  workgroupBarrier();
  for (var i = t; i < R * 8u; i += T) {
    let r = i / 8u;
    let h = r % G - skip + h_begin;
    var x = vec4f();
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      x = q[params.q_offset + (t0 + r / G) * params.q_stride + h * D4 + 8u * j + i % 8u] * (params.scale * LOG2E);
    }
    rows[r * S_LD + i % 8u] = half4(x);
  }
  workgroupBarrier();
}

// The j-th matrix of this subgroup's sums, through the scores that nobody needs any more.
fn write_out(o: Sum, j: u32, p: Place) {
  workgroupBarrier();
  spill(o, p.r0, p.column);
  workgroupBarrier();
  for (var i = p.lane; i < 64u; i += 32u) {
    let r = p.r0 + i / 4u;
    let h = r % G - p.skip + p.h_begin;
    if (r < QT * G && p.t0 + r / G < params.t_q && r % G >= p.skip && h < p.h_end) {
      out[((p.t0 + r / G) * params.n_heads + h) * D4 + 4u * (OT * p.column + j) + i % 4u] =
        scores[r * S_LD + 4u * p.column + i % 4u] * row_factor[r];
    }
  }
}

fn masked(x: vec4f, key: u32, begin: u32, end: u32) -> vec4f {
  return select(vec4f(LOWEST), x, (vec4u(key) + NEXT4 >= vec4u(begin)) & (vec4u(key) + NEXT4 < vec4u(end)));
}

fn weight(x: vec4f, reference: f32) -> vec4f { return select(vec4f(), exp2(x - reference), x > vec4f(LOWEST)); }
