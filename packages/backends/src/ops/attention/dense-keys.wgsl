// Keys that lie one after another, put before attention.wgsl and attention-workgroup.wgsl: key s of a range is row s.
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;

fn range_of(t: u32) -> vec2u {
  let at = params.range_offset + t * params.range_stride;
  return vec2u(kv_range[at], kv_range[at + 1u]);
}

fn key_row(t: u32, key: u32) -> u32 {
  return key;
}

fn key_rows(t: u32, keys: vec4u) -> vec4u {
  return keys;
}

fn same_keys(t: u32, other: u32) -> bool {
  return range_of(t).x == range_of(other).x;
}
