// Rotates the first 2·half columns of each head in place, column d with column d + half. One invocation per pair.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> cos_sin: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  let half = params.half;
  if (at >= params.rows * params.heads * half) { return; }
  let d = at % half;
  let row = at / (half * params.heads);
  let head = at / half % params.heads;
  let entry = positions[params.position_stride * row + params.position_offset] * 2u * half + d;
  let c = cos_sin[entry];
  let s = params.direction * cos_sin[entry + half];
  let i = params.offset + row * params.stride + head * params.head_dim + d;
  let u = x[i];
  let v = x[i + half];
  x[i] = fma(u, c, -v * s);
  x[i + half] = fma(v, c, u * s);
}
