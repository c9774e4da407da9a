// Attention whose weights are dropped, for training: the portable form, one invocation per query and head (forward, dq)
// or per key and kv head (dkv). The weight of (query t, key s, head h) is multiplied by a factor drawn from (key of t,
// stream and head, t − s): the same wherever the sequence lies. The sum that weights are divided by is of all of them.
// Follows philox.wgsl. Offsets and strides count vec4s; rows of outputs hold the running sums.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> ranges: array<vec2u>;
@group(0) @binding(4) var<storage, read> noise_keys: array<u32>;
// forward
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
// backward
@group(0) @binding(5) var<storage, read> out_in: array<vec4f>;
@group(0) @binding(6) var<storage, read> lse_in: array<f32>;
@group(0) @binding(7) var<storage, read> d_out: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> d: array<vec4f>;

fn factor(t: u32, s: u32, h: u32) -> f32 {
  let counter = vec2u(t - s, (params.stream << 16u) + h + params.q_head_offset);
  return select(params.keep_scale, 0.0, uniform_of(philox(counter, noise_keys[t]).x) < params.amount);
}

fn kv_head_of(h: u32) -> u32 {
  return (h + params.q_head_offset) / params.group - params.kv_head_offset;
}

fn score(q_at: u32, k_at: u32) -> f32 {
  var sum = 0.0;
  for (var c = 0u; c < params.d4; c++) { sum += dot(q[q_at + c], k[k_at + c]); }
  return sum * params.scale;
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.t_q * params.n_heads) { return; }
  let t = row / params.n_heads;
  let h = row % params.n_heads;
  let range = ranges[t];
  let q_at = params.q_offset + t * params.q_stride + h * params.d4;
  let k_at = params.k_offset + kv_head_of(h) * params.d4;
  let v_at = params.v_offset + kv_head_of(h) * params.d4;
  let o_at = row * params.d4;
  for (var c = 0u; c < params.d4; c++) { out[o_at + c] = vec4f(); }
  var top = -3.4028234e38;
  var sum = 0.0;
  for (var s = range.x; s < range.y; s++) {
    let x = score(q_at, k_at + s * params.k_stride);
    let next = max(top, x);
    let fade = exp(top - next);
    let p = exp(x - next);
    top = next;
    sum = sum * fade + p;
    let weight = p * factor(t, s, h);
    for (var c = 0u; c < params.d4; c++) {
      out[o_at + c] = out[o_at + c] * fade + weight * v[v_at + s * params.v_stride + c];
    }
  }
  let empty = range.x >= range.y;
  let inverse = select(1.0 / sum, 0.0, empty);
  for (var c = 0u; c < params.d4; c++) { out[o_at + c] = out[o_at + c] * inverse; }
  lse[row] = select(top + log(sum), 0.0, empty);
}

// ds of one pair: its weight times (factor·dOut·v − dOut·out). x: the weight times the factor.
fn pair(row: u32, t: u32, s: u32, h: u32, q_at: u32) -> vec2f {
  let kv_head = kv_head_of(h);
  let v_at = params.v_offset + s * params.v_stride + kv_head * params.d4;
  let p = exp(score(q_at, params.k_offset + s * params.k_stride + kv_head * params.d4) - lse_in[row]);
  var dp = 0.0;
  var delta = 0.0;
  for (var c = 0u; c < params.d4; c++) {
    let x = d_out[row * params.d4 + c];
    dp += dot(x, v[v_at + c]);
    delta += dot(x, out_in[row * params.d4 + c]);
  }
  let f = factor(t, s, h);
  return vec2f(p * f, p * (f * dp - delta) * params.scale);
}

@compute @workgroup_size(WG)
fn dq(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.t_q * params.n_heads) { return; }
  let t = row / params.n_heads;
  let h = row % params.n_heads;
  let q_at = params.q_offset + t * params.q_stride + h * params.d4;
  let k_at = params.k_offset + kv_head_of(h) * params.d4;
  let d_at = params.dq_offset + t * params.dq_stride + h * params.d4;
  for (var c = 0u; c < params.d4; c++) { d[d_at + c] = vec4f(); }
  let range = ranges[t];
  for (var s = range.x; s < range.y; s++) {
    let ds = pair(row, t, s, h, q_at).y;
    for (var c = 0u; c < params.d4; c++) {
      d[d_at + c] = d[d_at + c] + ds * k[k_at + s * params.k_stride + c];
    }
  }
}

// `ranges` are of the keys here.
@compute @workgroup_size(WG)
fn dkv(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.t_kv * params.n_kv_heads) { return; }
  let s = i / params.n_kv_heads;
  let kv_head = i % params.n_kv_heads;
  let dk_at = params.dk_offset + s * params.dk_stride + kv_head * params.d4;
  let dv_at = params.dv_offset + s * params.dv_stride + kv_head * params.d4;
  for (var c = 0u; c < params.d4; c++) {
    if (params.write_k != 0u) { d[dk_at + c] = vec4f(); }
    if (params.write_v != 0u) { d[dv_at + c] = vec4f(); }
  }
  let range = ranges[s];
  for (var h = 0u; h < params.n_heads; h++) {
    if (kv_head_of(h) != kv_head) { continue; }
    for (var t = range.x; t < range.y; t++) {
      let row = t * params.n_heads + h;
      let q_at = params.q_offset + t * params.q_stride + h * params.d4;
      let x = pair(row, t, s, h, q_at);
      for (var c = 0u; c < params.d4; c++) {
        if (params.write_k != 0u) { d[dk_at + c] = d[dk_at + c] + x.y * q[q_at + c]; }
        if (params.write_v != 0u) { d[dv_at + c] = d[dv_at + c] + x.x * d_out[row * params.d4 + c]; }
      }
    }
  }
}
