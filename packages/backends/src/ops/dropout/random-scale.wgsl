// Each element times a factor drawn from (key of its row, stream, column). KIND: 0 dropout, 1 jitter. Two neighbours of a
// row share a draw of two words, and a thread.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;

fn factor(word: u32) -> f32 {
  let u = uniform_of(word);
  if (KIND == 1u) { return fma(params.amount, 2.0 * u - 1.0, 1.0); }
  return select(params.scale, 0.0, u < params.amount);
}

fn write(at: u32, value: f32) {
  if (params.accumulate != 0u) { dst[at] = dst[at] + value; } else { dst[at] = value; }
}

fn draw(id: vec3u, groups: vec3u) -> vec4u {
  let i = linear_index(id, groups, WG);
  let half = (params.columns + 1u) / 2u;
  let row = i / half;
  if (row >= params.rows) { return vec4u(0xffffffffu, 0u, 0u, 0u); }
  let column = i % half * 2u;
  let words = philox(vec2u(column / 2u, params.stream), keys[row]);
  return vec4u(row * params.columns + column, select(1u, 2u, column + 1u < params.columns), words);
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let d = draw(id, groups);
  if (d.y == 0u) { return; }
  write(d.x, x[d.x] * factor(d.z));
  if (d.y == 2u) { write(d.x + 1u, x[d.x + 1u] * factor(d.w)); }
}

@compute @workgroup_size(WG)
fn in_place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let d = draw(id, groups);
  if (d.y == 0u) { return; }
  dst[d.x] = dst[d.x] * factor(d.z);
  if (d.y == 2u) { dst[d.x + 1u] = dst[d.x + 1u] * factor(d.w); }
}
