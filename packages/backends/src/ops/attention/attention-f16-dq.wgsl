// dq and delta (Σ dOut·out of a row): see attention-f16-backward.wgsl.
@group(0) @binding(7) var<storage, read> out: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> delta: array<f32>;
@group(0) @binding(9) var<storage, read_write> d_q: array<vec4f>;
var<workgroup> rows: array<vec4<f16>, 64u * max(LD, S_LD)>;

@compute @workgroup_size(T)
fn dq(
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
  let t0 = (blocks - 1u - block / params.n_kv_heads) * QT;
  let first_head = (kv_head + params.kv_head_offset) * G;
  let h_begin = max(first_head, params.q_head_offset) - params.q_head_offset;
  let h_end = min(max(first_head + G, params.q_head_offset) - params.q_head_offset, params.n_heads);
  let skip = max(first_head, params.q_head_offset) - first_head;
  let up = gradient_up();
  let r0 = subgroup / SN * 16u;
  let column = subgroup % SN;

  for (var i = t; i < 64u * D4; i += T) {
    let r = i / D4;
    let h = r % G - skip + h_begin;
    var x = vec4f();
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      x = q[params.q_offset + (t0 + r / G) * params.q_stride + h * D4 + i % D4] * (params.scale * LOG2E);
    }
    rows[r * LD + i % D4] = half4(x);
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
    let r = i / D4;
    let h = r % G - skip + h_begin;
    var x = vec4f();
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      x = d_out[((t0 + r / G) * params.n_heads + h) * D4 + i % D4] * up;
    }
    rows[r * LD + i % D4] = half4(x);
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
  let my_query = t0 + row / G;
  let my_head = row % G - skip + h_begin;
  var range = vec2u(0xffffffffu, 0u);
  var my_lse = 0.0;
  var product = 0.0;
  let mine = row < QT * G && my_query < params.t_q && row % G >= skip && my_head < h_end;
  let my_row = my_query * params.n_heads + my_head;
  if (mine) {
    range = range_of(my_query);
    my_lse = lse[my_row] * LOG2E;
    for (var c = part; c < D4; c += LANES) { product += dot(d_out[my_row * D4 + c], out[my_row * D4 + c]); }
  }
  product = join_sum(product);
  if (mine && part == 0u) { delta[my_row] = product; }
  let my_delta = product * up;
  let keys = walk_of(t, range);

  var g0 = Sum();
  var g1 = Sum();
  var g2 = Sum();
  var g3 = Sum();
  let k_base = params.k_offset + kv_head * D4;
  let v_base = params.v_offset + kv_head * D4;
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
  if (keys.x < keys.y) {
    x0 = k[k_base + min(keys.x + (t + 0u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    x1 = k[k_base + min(keys.x + (t + 1u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    x2 = k[k_base + min(keys.x + (t + 2u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    x3 = k[k_base + min(keys.x + (t + 3u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    if (FETCH == 8u) {
      x4 = k[k_base + min(keys.x + (t + 4u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
      x5 = k[k_base + min(keys.x + (t + 5u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
      x6 = k[k_base + min(keys.x + (t + 6u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
      x7 = k[k_base + min(keys.x + (t + 7u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    }
    y0 = v[v_base + min(keys.x + (t + 0u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    y1 = v[v_base + min(keys.x + (t + 1u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    y2 = v[v_base + min(keys.x + (t + 2u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    y3 = v[v_base + min(keys.x + (t + 3u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    if (FETCH == 8u) {
      y4 = v[v_base + min(keys.x + (t + 4u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
      y5 = v[v_base + min(keys.x + (t + 5u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
      y6 = v[v_base + min(keys.x + (t + 6u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
      y7 = v[v_base + min(keys.x + (t + 7u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    }
  }
  for (var s0 = keys.x; s0 < keys.y; s0 += BK) {
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
    workgroupBarrier();
    x0 = k[k_base + min(s0 + BK + (t + 0u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    x1 = k[k_base + min(s0 + BK + (t + 1u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    x2 = k[k_base + min(s0 + BK + (t + 2u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    x3 = k[k_base + min(s0 + BK + (t + 3u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    if (FETCH == 8u) {
      x4 = k[k_base + min(s0 + BK + (t + 4u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
      x5 = k[k_base + min(s0 + BK + (t + 5u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
      x6 = k[k_base + min(s0 + BK + (t + 6u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
      x7 = k[k_base + min(s0 + BK + (t + 7u * T) / D4, keys.y - 1u) * params.k_stride + t % D4];
    }
    y0 = v[v_base + min(s0 + BK + (t + 0u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    y1 = v[v_base + min(s0 + BK + (t + 1u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    y2 = v[v_base + min(s0 + BK + (t + 2u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    y3 = v[v_base + min(s0 + BK + (t + 3u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
    if (FETCH == 8u) {
      y4 = v[v_base + min(s0 + BK + (t + 4u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
      y5 = v[v_base + min(s0 + BK + (t + 5u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
      y6 = v[v_base + min(s0 + BK + (t + 6u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
      y7 = v[v_base + min(s0 + BK + (t + 7u * T) / D4, keys.y - 1u) * params.v_stride + t % D4];
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
    w0 = weight4(scores[at + 0u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 0u * LANES), range));
    w1 = weight4(scores[at + 1u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 1u * LANES), range));
    if (PER >= 4u) {
      w2 = weight4(scores[at + 2u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 2u * LANES), range));
      w3 = weight4(scores[at + 3u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 3u * LANES), range));
    }
    if (PER == 8u) {
      w4 = weight4(scores[at + 4u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 4u * LANES), range));
      w5 = weight4(scores[at + 5u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 5u * LANES), range));
      w6 = weight4(scores[at + 6u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 6u * LANES), range));
      w7 = weight4(scores[at + 7u * LANES], vec4f(my_lse), inside4(s0 + 4u * (part + 7u * LANES), range));
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
    rows[at + 0u * LANES] = half4(w0 * (scores[at + 0u * LANES] - my_delta));
    rows[at + 1u * LANES] = half4(w1 * (scores[at + 1u * LANES] - my_delta));
    if (PER >= 4u) {
      rows[at + 2u * LANES] = half4(w2 * (scores[at + 2u * LANES] - my_delta));
      rows[at + 3u * LANES] = half4(w3 * (scores[at + 3u * LANES] - my_delta));
    }
    if (PER == 8u) {
      rows[at + 4u * LANES] = half4(w4 * (scores[at + 4u * LANES] - my_delta));
      rows[at + 5u * LANES] = half4(w5 * (scores[at + 5u * LANES] - my_delta));
      rows[at + 6u * LANES] = half4(w6 * (scores[at + 6u * LANES] - my_delta));
      rows[at + 7u * LANES] = half4(w7 * (scores[at + 7u * LANES] - my_delta));
    }
    workgroupBarrier();
    for (var kk = 0u; kk < BK / 16u; kk++) {
      let ds = weights(0u, r0, kk);
      g0 = multiply(ds, straight_x(kk, 4u * column + 0u), g0);
      g1 = multiply(ds, straight_x(kk, 4u * column + 1u), g1);
      g2 = multiply(ds, straight_x(kk, 4u * column + 2u), g2);
      g3 = multiply(ds, straight_x(kk, 4u * column + 3u), g3);
    }
  }

  let down = gradient_down() * params.scale;
  workgroupBarrier();
  spill(g0, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      d_q[params.dq_offset + (t0 + r / G) * params.dq_stride + h * D4 + 16u * column + 0u + i % 4u] = result(i, r0, column) * down;
    }
  }
  workgroupBarrier();
  spill(g1, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      d_q[params.dq_offset + (t0 + r / G) * params.dq_stride + h * D4 + 16u * column + 4u + i % 4u] = result(i, r0, column) * down;
    }
  }
  workgroupBarrier();
  spill(g2, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      d_q[params.dq_offset + (t0 + r / G) * params.dq_stride + h * D4 + 16u * column + 8u + i % 4u] = result(i, r0, column) * down;
    }
  }
  workgroupBarrier();
  spill(g3, r0, column);
  workgroupBarrier();
  for (var i = lane; i < 64u; i += 32u) {
    let r = r0 + i / 4u;
    let h = r % G - skip + h_begin;
    if (r < QT * G && t0 + r / G < params.t_q && r % G >= skip && h < h_end) {
      d_q[params.dq_offset + (t0 + r / G) * params.dq_stride + h * D4 + 16u * column + 12u + i % 4u] = result(i, r0, column) * down;
    }
  }
}

fn inside4(key: u32, range: vec2u) -> vec4<bool> {
  return (vec4u(key) + NEXT4 >= vec4u(range.x)) & (vec4u(key) + NEXT4 < vec4u(range.y));
}
