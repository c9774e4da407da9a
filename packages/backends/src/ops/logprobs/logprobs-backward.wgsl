// d logits = (dLp·(onehot − p) − dH·p·(log p + H)) / T, zero on removed and padded columns. A workgroup does SPAN columns
// of one row, four columns a lane and step; rows from params.first_row on. `in_place` overwrites the logits.
@group(0) @binding(0) var<storage, read_write> d_logits: array<f32>;
@group(0) @binding(7) var<storage, read> logits: array<f32>;

const NEXT4 = vec4u(0u, 1u, 2u, 3u);

fn gradient4(r: Row, column: u32, x: vec4f) -> vec4f {
  let log_p = x * params.inv_t - r.lse;
  let p = exp(log_p);
  let hit = select(vec4f(), vec4f(1.0), vec4<i32>(column + NEXT4) == vec4<i32>(r.label));
  var g = r.d_log_prob * (hit - p);
  if (params.has_entropy != 0u) { g -= r.d_entropy * p * (log_p + r.entropy); }
  if (params.mask_stride != 0u) {
    let bits = mask[r.index * params.mask_stride + column / 32u] >> (column % 32u);
    g = select(vec4f(), g, (vec4u(bits) & vec4u(1u, 2u, 4u, 8u)) != vec4u());
  }
  return g * params.inv_t;
}

// Columns [begin, end) of the workgroup's row, and the row.
fn span_of(w: u32) -> vec3u {
  let parts = (params.vocab + SPAN - 1u) / SPAN;
  let begin = (w % parts) * SPAN;
  return vec3u(begin, min(begin + SPAN, params.vocab), params.first_row + w / parts);
}

// The last columns that exist, and padding.
fn store_rest(at: u32, column: u32, g: vec4f) {
  for (var i = 0u; i < 4u && column + i < params.vocab; i++) {
    d_logits[at + i] = select(0.0, g[i], column + i < params.valid);
  }
}

fn store4(at: u32, g: vec4f) {
  d_logits[at] = g.x;
  d_logits[at + 1u] = g.y;
  d_logits[at + 2u] = g.z;
  d_logits[at + 3u] = g.w;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let span = span_of(group.x + group.y * groups.x);
  if (span.z >= params.rows) { return; }
  let r = row_of(span.z);
  for (var column = span.x + 4u * lane; column < span.y; column += 4u * WG) {
    let at = r.index * params.vocab + column;
    if (column + 4u <= params.valid) {
      let x = vec4f(logits[at], logits[at + 1u], logits[at + 2u], logits[at + 3u]);
      store4(at, gradient4(r, column, x));
    } else {
      let i = min(vec4u(at) + NEXT4, vec4u((r.index + 1u) * params.vocab - 1u));
      let x = vec4f(logits[i.x], logits[i.y], logits[i.z], logits[i.w]);
      store_rest(at, column, gradient4(r, column, x));
    }
  }
}

@compute @workgroup_size(WG)
fn in_place(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let span = span_of(group.x + group.y * groups.x);
  if (span.z >= params.rows) { return; }
  let r = row_of(span.z);
  for (var column = span.x + 4u * lane; column < span.y; column += 4u * WG) {
    let at = r.index * params.vocab + column;
    if (column + 4u <= params.valid) {
      let x = vec4f(d_logits[at], d_logits[at + 1u], d_logits[at + 2u], d_logits[at + 3u]);
      store4(at, gradient4(r, column, x));
    } else {
      let i = min(vec4u(at) + NEXT4, vec4u((r.index + 1u) * params.vocab - 1u));
      let x = vec4f(d_logits[i.x], d_logits[i.y], d_logits[i.z], d_logits[i.w]);
      store_rest(at, column, gradient4(r, column, x));
    }
  }
}
