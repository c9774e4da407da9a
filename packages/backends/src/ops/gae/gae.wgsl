// Generalised advantage estimation, one invocation per packed sequence, backward in time.
@group(0) @binding(0) var<storage, read> rewards: array<f32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> cu_seqlens: array<u32>;
@group(0) @binding(3) var<storage, read> bootstrap: array<u32>;
@group(0) @binding(4) var<storage, read_write> advantages: array<f32>;
@group(0) @binding(5) var<storage, read_write> returns: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let begin = cu_seqlens[i];
  let end = cu_seqlens[i + 1u];
  if (end < begin + 2u) { return; }
  // Each sequence has one reward fewer than values.
  let shift = i;
  var next = select(0.0, values[end - 1u], bootstrap[i] != 0u);
  var advantage = 0.0;
  for (var t = end - 1u; t > begin; t--) {
    let value = values[t - 1u];
    let at = t - 1u - shift;
    let delta = rewards[at] + params.gamma * next - value;
    advantage = delta + params.gamma * params.lambda * advantage;
    advantages[at] = advantage;
    returns[at] = advantage + value;
    next = value;
  }
}
