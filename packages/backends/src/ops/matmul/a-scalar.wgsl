// Four neighbours of a from element `at`, of which `left` exist; the others are 0.
@group(0) @binding(1) var<storage, read> a: array<f32>;
fn load_a(at: u32, left: u32) -> vec4f {
  return vec4f(
    a[at],
    select(0.0, a[at + 1u], left > 1u),
    select(0.0, a[at + 2u], left > 2u),
    select(0.0, a[at + 3u], left > 3u),
  );
}
