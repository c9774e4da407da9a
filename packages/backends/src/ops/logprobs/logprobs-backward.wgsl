// d logits = (dLp·(onehot − p) − dH·p·(log p + H)) / T, zero on removed and padded columns; an invocation does four
// columns. `in_place` overwrites the logits.
@group(0) @binding(0) var<storage, read_write> d_logits: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> d_log_probs: array<f32>;
@group(0) @binding(5) var<storage, read> d_entropy: array<f32>;
@group(0) @binding(6) var<storage, read> entropy: array<f32>;
@group(0) @binding(7) var<storage, read> logits: array<f32>;

fn is_kept(row: u32, column: u32) -> bool {
  if (column >= params.valid) { return false; }
  return params.mask_stride == 0u ||
    ((mask[row * params.mask_stride + column / 32u] >> (column % 32u)) & 1u) != 0u;
}

fn gradient(row: u32, column: u32, x: f32) -> f32 {
  let log_p = x * params.inv_t - lse[row];
  let p = exp(log_p);
  var g = d_log_probs[row] * (select(0.0, 1.0, labels[row] == i32(column)) - p);
  if (params.has_entropy != 0u) { g -= d_entropy[row] * p * (log_p + entropy[row]); }
  return select(0.0, g * params.inv_t, is_kept(row, column));
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  let quads = (params.vocab + 3u) / 4u;
  let row = i / quads;
  if (row >= params.rows) { return; }
  let first = (i % quads) * 4u;
  for (var column = first; column < min(first + 4u, params.vocab); column++) {
    let at = row * params.vocab + column;
    d_logits[at] = gradient(row, column, logits[at]);
  }
}

@compute @workgroup_size(WG)
fn in_place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  let quads = (params.vocab + 3u) / 4u;
  let row = i / quads;
  if (row >= params.rows) { return; }
  let first = (i % quads) * 4u;
  for (var column = first; column < min(first + 4u, params.vocab); column++) {
    let at = row * params.vocab + column;
    d_logits[at] = gradient(row, column, d_logits[at]);
  }
}
