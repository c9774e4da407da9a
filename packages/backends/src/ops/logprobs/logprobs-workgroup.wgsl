// logprobs.wgsl for GPUs, one workgroup per row. Follows row-softmax-workgroup.wgsl.
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read_write> log_probs: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> entropy: array<f32>;

fn kept(row: u32, column: u32, x: f32) -> bool {
  return params.mask_stride == 0u ||
    ((mask[row * params.mask_stride + column / 32u] >> (column % 32u)) & 1u) != 0u;
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  lane = index;
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  inv_t = params.inv_t;
  let stats = row_stats(row);
  if (lane != 0u) { return; }
  let label = labels[row];
  var log_prob = 0.0;
  if (label >= 0) {
    log_prob = LOWEST;
    let x = logits[row * params.vocab + u32(label)];
    if (u32(label) < params.valid && kept(row, u32(label), x)) { log_prob = log_prob_of(x, stats); }
  }
  log_probs[row] = log_prob;
  lse[row] = stats.top + stats.log_sum;
  entropy[row] = stats.entropy;
}
