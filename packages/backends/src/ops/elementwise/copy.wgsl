// dst[dst_offset + i] = src[src_offset + i], as raw 32-bit words. `by4`: everything counts quads, and an invocation moves four,
// WG apart, all loaded before the first is stored.
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read_write> dst: array<u32>;
@group(0) @binding(0) var<storage, read> src4: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> dst4: array<vec4u>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { dst[params.dst_offset + i] = src[params.src_offset + i]; }
}

@compute @workgroup_size(WG)
fn by4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = (group.x + group.y * groups.x) * 4u * WG + lane;
  let source = params.src_offset + i;
  let place = params.dst_offset + i;
  if (i + 3u * WG < params.count) {
    let v0 = src4[source];
    let v1 = src4[source + WG];
    let v2 = src4[source + 2u * WG];
    let v3 = src4[source + 3u * WG];
    dst4[place] = v0;
    dst4[place + WG] = v1;
    dst4[place + 2u * WG] = v2;
    dst4[place + 3u * WG] = v3;
    return;
  }
  for (var n = 0u; n < 4u && i + n * WG < params.count; n++) { dst4[place + n * WG] = src4[source + n * WG]; }
}
