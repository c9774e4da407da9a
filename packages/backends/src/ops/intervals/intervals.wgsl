// Copies (`main`) or blends (`blend`) intervals (source offset, destination offset, length). PARTS workgroups share
// one interval, each walking it with a stride, so long and short intervals both find enough workgroups; four copies at a
// time keep that many loads in flight.
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read> intervals: array<u32>;
@group(0) @binding(2) var<storage, read_write> dst: array<u32>;
@group(0) @binding(0) var<storage, read> src_f: array<f32>;
@group(0) @binding(2) var<storage, read_write> dst_f: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let w = group.x + group.y * groups.x;
  let n = w / params.parts;
  if (n >= params.count) { return; }
  let source = intervals[3u * n];
  let target_at = intervals[3u * n + 1u];
  let length = intervals[3u * n + 2u];
  let stride = params.parts * WG;
  var i = (w % params.parts) * WG + lane;
  for (; i + 3u * stride < length; i += 4u * stride) {
    let a = src[source + i];
    let b = src[source + i + stride];
    let c = src[source + i + 2u * stride];
    let d = src[source + i + 3u * stride];
    dst[target_at + i] = a;
    dst[target_at + i + stride] = b;
    dst[target_at + i + 2u * stride] = c;
    dst[target_at + i + 3u * stride] = d;
  }
  for (; i < length; i += stride) { dst[target_at + i] = src[source + i]; }
}

@compute @workgroup_size(WG)
fn blend(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let w = group.x + group.y * groups.x;
  let n = w / params.parts;
  if (n >= params.count) { return; }
  let source = intervals[3u * n];
  let target_at = intervals[3u * n + 1u];
  let length = intervals[3u * n + 2u];
  for (var i = (w % params.parts) * WG + lane; i < length; i += params.parts * WG) {
    dst_f[target_at + i] = params.eta * src_f[source + i] + (1.0 - params.eta) * dst_f[target_at + i];
  }
}
