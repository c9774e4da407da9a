// Log-probs of labels, log-sum-exp and entropy, one invocation per row. Follows row-softmax.wgsl.
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read_write> log_probs: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> entropy: array<f32>;

fn kept4(row: u32, column: u32, x: vec4f) -> vec4<bool> {
  if (params.mask_stride == 0u) { return vec4<bool>(true); }
  let bits = mask[row * params.mask_stride + column / 32u] >> (column % 32u);
  return (vec4u(bits) & vec4u(1u, 2u, 4u, 8u)) != vec4u();
}

fn is_kept(row: u32, column: u32) -> bool {
  if (column >= params.valid) { return false; }
  return params.mask_stride == 0u ||
    ((mask[row * params.mask_stride + column / 32u] >> (column % 32u)) & 1u) != 0u;
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.rows) { return; }
  inv_t = params.inv_t;
  let stats = row_stats(row);
  let label = labels[row];
  var log_prob = 0.0;
  if (label >= 0) {
    log_prob = LOWEST;
    if (is_kept(row, u32(label))) {
      log_prob = log_prob_of(logits[row * params.vocab + u32(label)], stats);
    }
  }
  log_probs[row] = log_prob;
  lse[row] = stats.top + stats.log_sum;
  entropy[row] = stats.entropy;
}
