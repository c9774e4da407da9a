// logprobs-backward.wgsl by aligned quads of memory, whatever the vocabulary: quads that two rows share are stored number by
// number. A workgroup does SPAN / 4 quads of one row. Rows end where a quad of the tensor does: params.rows may leave out the
// last row of the tensor (see the launcher). `in_place` overwrites the logits.
@group(0) @binding(0) var<storage, read_write> d_logits: array<vec4f>;
@group(0) @binding(7) var<storage, read> logits: array<vec4f>;

const NEXT4 = vec4i(0, 1, 2, 3);

fn bit(r: Row, column: i32) -> bool {
  let c = u32(clamp(column, 0, i32(params.vocab) - 1));
  return ((mask[r.index * params.mask_stride + c / 32u] >> (c % 32u)) & 1u) != 0u;
}

fn gradient4(r: Row, columns: vec4i, x: vec4f) -> vec4f {
  let log_p = x * params.inv_t - r.lse;
  let p = exp(log_p);
  var g = r.d_log_prob * (select(vec4f(), vec4f(1.0), columns == vec4i(r.label)) - p);
  if (params.has_entropy != 0u) { g -= r.d_entropy * p * (log_p + r.entropy); }
  if (params.mask_stride != 0u) {
    g = select(vec4f(), g, vec4<bool>(bit(r, columns.x), bit(r, columns.y), bit(r, columns.z), bit(r, columns.w)));
  }
  return select(vec4f(), g * params.inv_t, columns < vec4i(i32(params.valid)));
}

// First and last quad (excluded) of the workgroup, and its row.
fn span_of(w: u32) -> vec3u {
  let parts = (params.vocab + 6u) / SPAN + 1u;
  let row = w / parts;
  let first = row * params.vocab / 4u;
  let end = ((row + 1u) * params.vocab + 3u) / 4u;
  let begin = first + (w % parts) * (SPAN / 4u);
  return vec3u(begin, min(begin + SPAN / 4u, end), row);
}

fn store(q: u32, columns: vec4i, g: vec4f) {
  if (columns.x >= 0 && columns.w < i32(params.vocab)) {
    d_logits[q] = g;
    return;
  }
  for (var i = 0u; i < 4u; i++) {
    if (columns[i] >= 0 && columns[i] < i32(params.vocab)) { d_logits[q][i] = g[i]; }
  }
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
  for (var q = span.x + lane; q < span.y; q += WG) {
    let columns = i32(4u * q) - i32(r.index * params.vocab) + NEXT4;
    store(q, columns, gradient4(r, columns, logits[q]));
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
  for (var q = span.x + lane; q < span.y; q += WG) {
    let columns = i32(4u * q) - i32(r.index * params.vocab) + NEXT4;
    store(q, columns, gradient4(r, columns, d_logits[q]));
  }
}
