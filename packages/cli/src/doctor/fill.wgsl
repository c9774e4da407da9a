// Fills with multiples of 2^-11 in [-0.5, 0.5).
// Header: const SEED: u32.
@group(0) @binding(0) var<storage, read_write> words: array<u32>;

fn value(i: u32) -> f32 {
  var h = (i + SEED) * 2654435761u;
  h ^= h >> 15u;
  return f32((h * 2246822519u) >> 21u) / 2048.0 - 0.5;
}

@compute @workgroup_size(256)
fn fill(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.x + id.y * groups.x * 256u;
  if (i < arrayLength(&words)) {
    words[i] = bitcast<u32>(value(i));
  }
}
