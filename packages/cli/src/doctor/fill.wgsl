// Fills an operand with multiples of 2^-11 in [-0.5, 0.5), exact in f16 as in f32: the host knows every value.
// Header: const SEED: u32.
@group(0) @binding(0) var<storage, read_write> words: array<u32>;

fn value(i: u32) -> f32 {
  var h = (i + SEED) * 2654435761u;
  h ^= h >> 15u;
  return f32((h * 2246822519u) >> 21u) / 2048.0 - 0.5;
}

fn index(id: vec3u, groups: vec3u) -> u32 {
  return id.x + id.y * groups.x * 256u;
}

@compute @workgroup_size(256)
fn fill_f32(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = index(id, groups);
  if (i < arrayLength(&words)) {
    words[i] = bitcast<u32>(value(i));
  }
}

// Two f16 a word.
@compute @workgroup_size(256)
fn fill_f16(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = index(id, groups);
  if (i < arrayLength(&words)) {
    words[i] = pack2x16float(vec2f(value(2u * i), value(2u * i + 1u)));
  }
}
