// Four neighbours of b from element `at`, a multiple of 4.
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
fn load_b(at: u32, left: u32) -> vec4f { return b[at / 4u]; }
