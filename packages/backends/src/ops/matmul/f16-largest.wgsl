// The bits of the largest magnitude in src: for magnitudes, bits order like numbers, and a maximum has no order to keep.
// `dst` holds 0 before. An invocation looks at params.each elements, WG apart.
@group(0) @binding(0) var<storage, read_write> dst: array<atomic<u32>>;
@group(0) @binding(1) var<storage, read> src: array<u32>;
var<workgroup> group_largest: atomic<u32>;

@compute @workgroup_size(WG)
fn largest_magnitude(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let begin = group.x * WG * params.each;
  let end = min(params.size, begin + WG * params.each);
  var most = 0u;
  for (var i = begin + t; i < end; i += WG) { most = max(most, src[i] & 0x7fffffffu); }
  atomicMax(&group_largest, most);
  workgroupBarrier();
  if (t == 0u) { atomicMax(&dst[0], atomicLoad(&group_largest)); }
}
