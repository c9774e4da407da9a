// Four neighbours of a from element `at`, a multiple of 4.
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
fn load_a(at: u32, left: u32) -> vec4f { return a[at / 4u]; }
