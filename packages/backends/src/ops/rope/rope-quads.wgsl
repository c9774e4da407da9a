// rope.wgsl four pairs at a time, of up to HEADS heads in one invocation (which share cosines and sines, and whose loads
// are in flight together). Sizes, offset and stride count quads.
@group(0) @binding(0) var<storage, read_write> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> cos_sin: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  let half = params.half;
  let parts = (params.heads + HEADS - 1u) / HEADS;
  if (at >= params.rows * parts * half) { return; }
  let d = at % half;
  let row = at / (half * parts);
  let first = at / half % parts * HEADS;
  let count = min(HEADS, params.heads - first);
  let begin = params.offset + row * params.stride + first * params.head_dim + d;
  var u: array<vec4f, HEADS>;
  var v: array<vec4f, HEADS>;
  for (var h = 0u; h < HEADS; h++) {
    if (h < count) {
      u[h] = x[begin + h * params.head_dim];
      v[h] = x[begin + h * params.head_dim + half];
    }
  }
  let entry = positions[params.position_stride * row + params.position_offset] * 2u * half + d;
  let c = cos_sin[entry];
  let s = params.direction * cos_sin[entry + half];
  for (var h = 0u; h < HEADS; h++) {
    if (h < count) {
      let i = begin + h * params.head_dim;
      x[i] = fma(u[h], c, -v[h] * s);
      x[i + half] = fma(v[h], c, u[h] * s);
    }
  }
}
