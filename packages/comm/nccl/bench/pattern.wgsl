@group(0) @binding(0) var<storage, read_write> words: array<u32>;
@group(0) @binding(1) var<uniform> params: vec4u;

// params: index of the first word, words, seed.
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let step = groups.x * 256u;
  for (var i = at.x; i < params.y; i += step) {
    words[i] = (i + params.x + params.z) * 2654435761u;
  }
}
