// sum-squares.wgsl for GPUs: a workgroup adds CHUNK consecutive elements, lane l those at l, l + WG, …, then the lanes
// as a binary tree. `squares4`: lane l those of the quads at l, l + WG, …; for lengths that are multiples of four.
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(0) var<storage, read> quads: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;
var<workgroup> joined: array<f32, WG>;

fn join(lane: u32, mine: f32) -> f32 {
  joined[lane] = mine;
  for (var n = WG / 2u; n > 0u; n /= 2u) {
    workgroupBarrier();
    if (lane < n) { joined[lane] = joined[lane] + joined[lane + n]; }
  }
  return joined[0];
}

@compute @workgroup_size(WG)
fn squares(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let w = group.x + group.y * groups.x;
  let begin = w * CHUNK;
  if (w > 0u && begin >= params.count) { return; }
  var sum = 0.0;
  for (var i = begin + lane; i < min(begin + CHUNK, params.count); i += WG) { sum += x[i] * x[i]; }
  let all = join(lane, sum);
  if (lane == 0u) { out[params.slot + w] = all; }
}

@compute @workgroup_size(WG)
fn sums(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let w = group.x + group.y * groups.x;
  let begin = w * CHUNK;
  if (w > 0u && begin >= params.count) { return; }
  var sum = 0.0;
  for (var i = begin + lane; i < min(begin + CHUNK, params.count); i += WG) { sum += x[i]; }
  let all = join(lane, sum);
  if (lane == 0u) { out[params.slot + w] = all; }
}

@compute @workgroup_size(WG)
fn squares4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let w = group.x + group.y * groups.x;
  let begin = w * (CHUNK / 4u);
  if (w > 0u && begin >= params.count / 4u) { return; }
  let end = min(begin + CHUNK / 4u, params.count / 4u);
  var a = vec4f();
  var b = vec4f();
  var i = begin + lane;
  for (; i + 3u * WG < end; i += 4u * WG) {
    let v0 = quads[i];
    let v1 = quads[i + WG];
    let v2 = quads[i + 2u * WG];
    let v3 = quads[i + 3u * WG];
    a = fma(v0, v0, a);
    b = fma(v1, v1, b);
    a = fma(v2, v2, a);
    b = fma(v3, v3, b);
  }
  for (; i < end; i += WG) { a = fma(quads[i], quads[i], a); }
  a += b;
  let all = join(lane, (a.x + a.y) + (a.z + a.w));
  if (lane == 0u) { out[params.slot + w] = all; }
}
