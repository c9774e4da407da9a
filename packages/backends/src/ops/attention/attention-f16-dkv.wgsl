// dk and dv: see attention-f16-backward.wgsl.
// dk and dv: both in one tensor, or one of them
@group(0) @binding(7) var<storage, read> q_range: array<vec2u>;
@group(0) @binding(8) var<storage, read> delta_in: array<f32>;
@group(0) @binding(9) var<storage, read_write> d_kv: array<vec4f>;

// Behind the gradients of scores their weights.
var<workgroup> rows: array<vec4<f16>, max(64u * LD, 128u * S_LD)>;
// Of the columns of dkv.
var<workgroup> column_begin: array<vec4u, BK / 4u>;
var<workgroup> column_end: array<vec4u, BK / 4u>;
var<workgroup> column_lse: array<vec4f, BK / 4u>;
var<workgroup> column_delta: array<vec4f, BK / 4u>;

@compute @workgroup_size(T)
fn dkv(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let block = group.x + group.y * groups.x;
  let kv_head = block % params.n_kv_heads;
  let s0 = (block / params.n_kv_heads) * 64u;
  if (s0 >= params.t_kv) { return; }
  let first_head = (kv_head + params.kv_head_offset) * params.group;
  let h_begin = max(first_head, params.q_head_offset) - params.q_head_offset;
  let h_end = min(max(first_head + params.group, params.q_head_offset) - params.q_head_offset, params.n_heads);
  let up = gradient_up();
  let r0 = subgroup / SN * 16u;
  let column = subgroup % SN;

  for (var i = t; i < 64u * D4; i += T) {
    let s = min(s0 + i / D4, params.t_kv - 1u);
    let x = k[params.k_offset + s * params.k_stride + kv_head * D4 + i % D4];
    rows[i / D4 * LD + i % D4] = half4(x * (params.scale * LOG2E));
  }
  workgroupBarrier();
  let a0 = row_left(r0, 0u);
  let a1 = row_left(r0, 1u);
  let a2 = row_left(r0, 2u);
  let a3 = row_left(r0, 3u);
  var a4: Left;
  var a5: Left;
  var a6: Left;
  var a7: Left;
  if (D == 128u) {
    a4 = row_left(r0, 4u);
    a5 = row_left(r0, 5u);
    a6 = row_left(r0, 6u);
    a7 = row_left(r0, 7u);
  }
  workgroupBarrier();
  for (var i = t; i < 64u * D4; i += T) {
    let s = min(s0 + i / D4, params.t_kv - 1u);
    rows[i / D4 * LD + i % D4] = half4(v[params.v_offset + s * params.v_stride + kv_head * D4 + i % D4]);
  }
  workgroupBarrier();
  let b0 = row_left(r0, 0u);
  let b1 = row_left(r0, 1u);
  let b2 = row_left(r0, 2u);
  let b3 = row_left(r0, 3u);
  var b4: Left;
  var b5: Left;
  var b6: Left;
  var b7: Left;
  if (D == 128u) {
    b4 = row_left(r0, 4u);
    b5 = row_left(r0, 5u);
    b6 = row_left(r0, 6u);
    b7 = row_left(r0, 7u);
  }

  let row = t / LANES;
  let part = t % LANES;
  let my_key = s0 + row;
  var range = vec2u(0xffffffffu, 0u);
  if (my_key < params.t_kv) { range = q_range[my_key]; }
  let walk = walk_of(t, range);
  let queries = vec2u(walk.x, min(walk.y, params.t_q));

  var g0 = Sum();
  var g1 = Sum();
  var g2 = Sum();
  var g3 = Sum();
  var e0 = Sum();
  var e1 = Sum();
  var e2 = Sum();
  var e3 = Sum();
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
  if (h_begin < h_end && queries.x < queries.y) {
    x0 = q[params.q_offset + min(queries.x + (t + 0u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
    x1 = q[params.q_offset + min(queries.x + (t + 1u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
    x2 = q[params.q_offset + min(queries.x + (t + 2u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
    x3 = q[params.q_offset + min(queries.x + (t + 3u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
    if (FETCH == 8u) {
      x4 = q[params.q_offset + min(queries.x + (t + 4u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
      x5 = q[params.q_offset + min(queries.x + (t + 5u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
      x6 = q[params.q_offset + min(queries.x + (t + 6u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
      x7 = q[params.q_offset + min(queries.x + (t + 7u * T) / D4, params.t_q - 1u) * params.q_stride + h_begin * D4 + t % D4];
    }
    y0 = d_out[(min(queries.x + (t + 0u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
    y1 = d_out[(min(queries.x + (t + 1u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
    y2 = d_out[(min(queries.x + (t + 2u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
    y3 = d_out[(min(queries.x + (t + 3u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
    if (FETCH == 8u) {
      y4 = d_out[(min(queries.x + (t + 4u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
      y5 = d_out[(min(queries.x + (t + 5u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
      y6 = d_out[(min(queries.x + (t + 6u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
      y7 = d_out[(min(queries.x + (t + 7u * T) / D4, params.t_q - 1u) * params.n_heads + h_begin) * D4 + t % D4];
    }
  }
  for (var h = h_begin; h < h_end; h++) {
    for (var t0 = queries.x; t0 < queries.y; t0 += BK) {
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
      tile_y[(t + 0u * T) / D4 * LD + t % D4] = half4(y0 * up);
      tile_y[(t + 1u * T) / D4 * LD + t % D4] = half4(y1 * up);
      tile_y[(t + 2u * T) / D4 * LD + t % D4] = half4(y2 * up);
      tile_y[(t + 3u * T) / D4 * LD + t % D4] = half4(y3 * up);
      if (FETCH == 8u) {
        tile_y[(t + 4u * T) / D4 * LD + t % D4] = half4(y4 * up);
        tile_y[(t + 5u * T) / D4 * LD + t % D4] = half4(y5 * up);
        tile_y[(t + 6u * T) / D4 * LD + t % D4] = half4(y6 * up);
        tile_y[(t + 7u * T) / D4 * LD + t % D4] = half4(y7 * up);
      }
      if (t < BK) {
        var columns = vec2u(0xffffffffu, 0u);
        var facts = vec2f();
        if (t0 + t < queries.y) {
          columns = range_of(t0 + t);
          let at = (t0 + t) * params.n_heads + h;
          facts = vec2f(lse[at] * LOG2E, delta_in[at] * up);
        }
        column_begin[t / 4u][t % 4u] = columns.x;
        column_end[t / 4u][t % 4u] = columns.y;
        column_lse[t / 4u][t % 4u] = facts.x;
        column_delta[t / 4u][t % 4u] = facts.y;
      }
      workgroupBarrier();
      // The next tile is of the same head, or the first of the next one.
      let same = t0 + BK < queries.y;
      let next_h = select(min(h + 1u, h_end - 1u), h, same);
      let next_t = select(queries.x, t0 + BK, same);
      x0 = q[params.q_offset + min(next_t + (t + 0u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
      x1 = q[params.q_offset + min(next_t + (t + 1u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
      x2 = q[params.q_offset + min(next_t + (t + 2u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
      x3 = q[params.q_offset + min(next_t + (t + 3u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
      if (FETCH == 8u) {
        x4 = q[params.q_offset + min(next_t + (t + 4u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
        x5 = q[params.q_offset + min(next_t + (t + 5u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
        x6 = q[params.q_offset + min(next_t + (t + 6u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
        x7 = q[params.q_offset + min(next_t + (t + 7u * T) / D4, params.t_q - 1u) * params.q_stride + next_h * D4 + t % D4];
      }
      y0 = d_out[(min(next_t + (t + 0u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
      y1 = d_out[(min(next_t + (t + 1u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
      y2 = d_out[(min(next_t + (t + 2u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
      y3 = d_out[(min(next_t + (t + 3u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
      if (FETCH == 8u) {
        y4 = d_out[(min(next_t + (t + 4u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
        y5 = d_out[(min(next_t + (t + 5u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
        y6 = d_out[(min(next_t + (t + 6u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
        y7 = d_out[(min(next_t + (t + 7u * T) / D4, params.t_q - 1u) * params.n_heads + next_h) * D4 + t % D4];
      }
      {
        var s = multiply(a0, turned_x(0u, ST * column + 0u), Sum());
        s = multiply(a1, turned_x(1u, ST * column + 0u), s);
        s = multiply(a2, turned_x(2u, ST * column + 0u), s);
        s = multiply(a3, turned_x(3u, ST * column + 0u), s);
        if (D == 128u) {
          s = multiply(a4, turned_x(4u, ST * column + 0u), s);
          s = multiply(a5, turned_x(5u, ST * column + 0u), s);
          s = multiply(a6, turned_x(6u, ST * column + 0u), s);
          s = multiply(a7, turned_x(7u, ST * column + 0u), s);
        }
        spill(s, r0, ST * column + 0u);
      }
      if (ST >= 2u) {
        var s = multiply(a0, turned_x(0u, ST * column + 1u), Sum());
        s = multiply(a1, turned_x(1u, ST * column + 1u), s);
        s = multiply(a2, turned_x(2u, ST * column + 1u), s);
        s = multiply(a3, turned_x(3u, ST * column + 1u), s);
        if (D == 128u) {
          s = multiply(a4, turned_x(4u, ST * column + 1u), s);
          s = multiply(a5, turned_x(5u, ST * column + 1u), s);
          s = multiply(a6, turned_x(6u, ST * column + 1u), s);
          s = multiply(a7, turned_x(7u, ST * column + 1u), s);
        }
        spill(s, r0, ST * column + 1u);
      }
      if (ST == 4u) {
        var s = multiply(a0, turned_x(0u, ST * column + 2u), Sum());
        s = multiply(a1, turned_x(1u, ST * column + 2u), s);
        s = multiply(a2, turned_x(2u, ST * column + 2u), s);
        s = multiply(a3, turned_x(3u, ST * column + 2u), s);
        if (D == 128u) {
          s = multiply(a4, turned_x(4u, ST * column + 2u), s);
          s = multiply(a5, turned_x(5u, ST * column + 2u), s);
          s = multiply(a6, turned_x(6u, ST * column + 2u), s);
          s = multiply(a7, turned_x(7u, ST * column + 2u), s);
        }
        spill(s, r0, ST * column + 2u);
      }
      if (ST == 4u) {
        var s = multiply(a0, turned_x(0u, ST * column + 3u), Sum());
        s = multiply(a1, turned_x(1u, ST * column + 3u), s);
        s = multiply(a2, turned_x(2u, ST * column + 3u), s);
        s = multiply(a3, turned_x(3u, ST * column + 3u), s);
        if (D == 128u) {
          s = multiply(a4, turned_x(4u, ST * column + 3u), s);
          s = multiply(a5, turned_x(5u, ST * column + 3u), s);
          s = multiply(a6, turned_x(6u, ST * column + 3u), s);
          s = multiply(a7, turned_x(7u, ST * column + 3u), s);
        }
        spill(s, r0, ST * column + 3u);
      }
      workgroupBarrier();
      let at = row * S_LD + part;
      var w0 = vec4f();
      var w1 = vec4f();
      var w2 = vec4f();
      var w3 = vec4f();
      var w4 = vec4f();
      var w5 = vec4f();
      var w6 = vec4f();
      var w7 = vec4f();
      w0 = column_weight(scores[at + 0u * LANES], my_key, part + 0u * LANES);
      w1 = column_weight(scores[at + 1u * LANES], my_key, part + 1u * LANES);
      if (PER >= 4u) {
        w2 = column_weight(scores[at + 2u * LANES], my_key, part + 2u * LANES);
        w3 = column_weight(scores[at + 3u * LANES], my_key, part + 3u * LANES);
      }
      if (PER == 8u) {
        w4 = column_weight(scores[at + 4u * LANES], my_key, part + 4u * LANES);
        w5 = column_weight(scores[at + 5u * LANES], my_key, part + 5u * LANES);
        w6 = column_weight(scores[at + 6u * LANES], my_key, part + 6u * LANES);
        w7 = column_weight(scores[at + 7u * LANES], my_key, part + 7u * LANES);
      }
      workgroupBarrier();
      {
        var s = multiply(b0, turned_y(0u, ST * column + 0u), Sum());
        s = multiply(b1, turned_y(1u, ST * column + 0u), s);
        s = multiply(b2, turned_y(2u, ST * column + 0u), s);
        s = multiply(b3, turned_y(3u, ST * column + 0u), s);
        if (D == 128u) {
          s = multiply(b4, turned_y(4u, ST * column + 0u), s);
          s = multiply(b5, turned_y(5u, ST * column + 0u), s);
          s = multiply(b6, turned_y(6u, ST * column + 0u), s);
          s = multiply(b7, turned_y(7u, ST * column + 0u), s);
        }
        spill(s, r0, ST * column + 0u);
      }
      if (ST >= 2u) {
        var s = multiply(b0, turned_y(0u, ST * column + 1u), Sum());
        s = multiply(b1, turned_y(1u, ST * column + 1u), s);
        s = multiply(b2, turned_y(2u, ST * column + 1u), s);
        s = multiply(b3, turned_y(3u, ST * column + 1u), s);
        if (D == 128u) {
          s = multiply(b4, turned_y(4u, ST * column + 1u), s);
          s = multiply(b5, turned_y(5u, ST * column + 1u), s);
          s = multiply(b6, turned_y(6u, ST * column + 1u), s);
          s = multiply(b7, turned_y(7u, ST * column + 1u), s);
        }
        spill(s, r0, ST * column + 1u);
      }
      if (ST == 4u) {
        var s = multiply(b0, turned_y(0u, ST * column + 2u), Sum());
        s = multiply(b1, turned_y(1u, ST * column + 2u), s);
        s = multiply(b2, turned_y(2u, ST * column + 2u), s);
        s = multiply(b3, turned_y(3u, ST * column + 2u), s);
        if (D == 128u) {
          s = multiply(b4, turned_y(4u, ST * column + 2u), s);
          s = multiply(b5, turned_y(5u, ST * column + 2u), s);
          s = multiply(b6, turned_y(6u, ST * column + 2u), s);
          s = multiply(b7, turned_y(7u, ST * column + 2u), s);
        }
        spill(s, r0, ST * column + 2u);
      }
      if (ST == 4u) {
        var s = multiply(b0, turned_y(0u, ST * column + 3u), Sum());
        s = multiply(b1, turned_y(1u, ST * column + 3u), s);
        s = multiply(b2, turned_y(2u, ST * column + 3u), s);
        s = multiply(b3, turned_y(3u, ST * column + 3u), s);
        if (D == 128u) {
          s = multiply(b4, turned_y(4u, ST * column + 3u), s);
          s = multiply(b5, turned_y(5u, ST * column + 3u), s);
          s = multiply(b6, turned_y(6u, ST * column + 3u), s);
          s = multiply(b7, turned_y(7u, ST * column + 3u), s);
        }
        spill(s, r0, ST * column + 3u);
      }
      workgroupBarrier();
      rows[at + 0u * LANES] = half4(w0 * (scores[at + 0u * LANES] - column_delta[part + 0u * LANES])); rows[64u * S_LD + at + 0u * LANES] = vec4<f16>(w0);
      rows[at + 1u * LANES] = half4(w1 * (scores[at + 1u * LANES] - column_delta[part + 1u * LANES])); rows[64u * S_LD + at + 1u * LANES] = vec4<f16>(w1);
      if (PER >= 4u) {
        rows[at + 2u * LANES] = half4(w2 * (scores[at + 2u * LANES] - column_delta[part + 2u * LANES])); rows[64u * S_LD + at + 2u * LANES] = vec4<f16>(w2);
        rows[at + 3u * LANES] = half4(w3 * (scores[at + 3u * LANES] - column_delta[part + 3u * LANES])); rows[64u * S_LD + at + 3u * LANES] = vec4<f16>(w3);
      }
      if (PER == 8u) {
        rows[at + 4u * LANES] = half4(w4 * (scores[at + 4u * LANES] - column_delta[part + 4u * LANES])); rows[64u * S_LD + at + 4u * LANES] = vec4<f16>(w4);
        rows[at + 5u * LANES] = half4(w5 * (scores[at + 5u * LANES] - column_delta[part + 5u * LANES])); rows[64u * S_LD + at + 5u * LANES] = vec4<f16>(w5);
        rows[at + 6u * LANES] = half4(w6 * (scores[at + 6u * LANES] - column_delta[part + 6u * LANES])); rows[64u * S_LD + at + 6u * LANES] = vec4<f16>(w6);
        rows[at + 7u * LANES] = half4(w7 * (scores[at + 7u * LANES] - column_delta[part + 7u * LANES])); rows[64u * S_LD + at + 7u * LANES] = vec4<f16>(w7);
      }
      workgroupBarrier();
      for (var kk = 0u; kk < BK / 16u; kk++) {
        let ds = weights(0u, r0, kk);
        let p = weights(64u * S_LD, r0, kk);
        g0 = multiply(ds, straight_x(kk, 4u * column + 0u), g0);
        e0 = multiply(p, straight_y(kk, 4u * column + 0u), e0);
        g1 = multiply(ds, straight_x(kk, 4u * column + 1u), g1);
        e1 = multiply(p, straight_y(kk, 4u * column + 1u), e1);
        g2 = multiply(ds, straight_x(kk, 4u * column + 2u), g2);
        e2 = multiply(p, straight_y(kk, 4u * column + 2u), e2);
        g3 = multiply(ds, straight_x(kk, 4u * column + 3u), g3);
        e3 = multiply(p, straight_y(kk, 4u * column + 3u), e3);
      }
    }
  }

  let down = gradient_down();
  put(g0, s0, r0, column, kv_head * D4 + 16u * column + 0u, lane, 0u, down * params.scale);
  put(g1, s0, r0, column, kv_head * D4 + 16u * column + 4u, lane, 0u, down * params.scale);
  put(g2, s0, r0, column, kv_head * D4 + 16u * column + 8u, lane, 0u, down * params.scale);
  put(g3, s0, r0, column, kv_head * D4 + 16u * column + 12u, lane, 0u, down * params.scale);
  put(e0, s0, r0, column, kv_head * D4 + 16u * column + 0u, lane, 1u, down);
  put(e1, s0, r0, column, kv_head * D4 + 16u * column + 4u, lane, 1u, down);
  put(e2, s0, r0, column, kv_head * D4 + 16u * column + 8u, lane, 1u, down);
  put(e3, s0, r0, column, kv_head * D4 + 16u * column + 12u, lane, 1u, down);
}

// The weight of a key at four queries, the c-th of the tile.
fn column_weight(score: vec4f, key: u32, c: u32) -> vec4f {
  let inside = (vec4u(key) >= column_begin[c]) & (vec4u(key) < column_end[c]);
  return weight4(score, column_lse[c], inside);
}

// A subgroup's matrix of dk (`which` 0) or dv to 16 keys, from column `at` on.
fn put(x: Sum, s0: u32, r0: u32, column: u32, at: u32, lane: u32, which: u32, factor: f32) {
  workgroupBarrier();
  spill(x, r0, column);
  workgroupBarrier();
  let write = select(params.write_k, params.write_v, which == 1u);
  let offset = select(params.dk_offset, params.dv_offset, which == 1u);
  let stride = select(params.dk_stride, params.dv_stride, which == 1u);
  for (var i = lane; i < 64u && write != 0u; i += 32u) {
    let s = s0 + r0 + i / 4u;
    if (s < params.t_kv) { d_kv[offset + s * stride + at + i % 4u] = result(i, r0, column) * factor; }
  }
}
