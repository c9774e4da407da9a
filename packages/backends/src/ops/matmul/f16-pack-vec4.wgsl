// Four neighbours from element `at`, a multiple of 4.
@group(0) @binding(1) var<storage, read> src: array<vec4f>;
fn load(at: u32, left: u32) -> vec4f { return src[at / 4u]; }
