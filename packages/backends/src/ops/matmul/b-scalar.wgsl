// Four neighbours of b from element `at`, of which `left` exist; the others are 0.
@group(0) @binding(2) var<storage, read> b: array<f32>;
fn load_b(at: u32, left: u32) -> vec4f {
  return vec4f(
    b[at],
    select(0.0, b[at + 1u], left > 1u),
    select(0.0, b[at + 2u], left > 2u),
    select(0.0, b[at + 3u], left > 3u),
  );
}
