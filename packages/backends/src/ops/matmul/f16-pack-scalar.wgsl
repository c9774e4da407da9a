// Four neighbours from element `at`, of which `left` exist; the others are 0.
@group(0) @binding(1) var<storage, read> src: array<f32>;
fn load(at: u32, left: u32) -> vec4f {
  return vec4f(
    src[at],
    select(0.0, src[min(at + 1u, at + left - 1u)], left > 1u),
    select(0.0, src[min(at + 2u, at + left - 1u)], left > 2u),
    select(0.0, src[min(at + 3u, at + left - 1u)], left > 3u),
  );
}
