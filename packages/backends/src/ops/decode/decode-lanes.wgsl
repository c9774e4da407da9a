// What decode-attention.wgsl asks of the 32 lanes of a subgroup.
fn most_of(v: vec4f, t: u32) -> vec4f { return subgroupMax(v); }
fn sum_of(v: vec4f, t: u32) -> vec4f { return subgroupAdd(v); }
fn give_lanes(v: u32, t: u32) {}
fn lane_value(v: u32, t: u32, lane: u32) -> u32 { return subgroupShuffle(v, lane); }
// How often a loop runs: known to the compiler, so that it is unrolled.
fn times(n: u32) -> u32 { return n; }
