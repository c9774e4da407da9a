// f32 [rows, cols] to panels of 16 rows in f16, [padded, 16] each (padded ≥ cols); zeros where the matrix has nothing.
// SCALED: times scale_up. A workgroup makes 64 columns of four panels: x of the grid counts these, y runs of 64 columns.
@group(0) @binding(0) var<storage, read_write> dst: array<vec4u>;
@group(0) @binding(2) var<storage, read> largest: array<u32>;
var<workgroup> turned: array<f32, 64u * 65u>;

fn scaling() -> f32 {
  if (SCALED == 1u) { return scale_up(largest[0]); }
  return 1.0;
}

fn four(row: u32, col: u32) -> vec4f {
  if (row >= params.rows || col >= params.cols) { return vec4f(); }
  return load(row * params.cols + col, params.cols - col);
}

fn packed(low: vec4f, high: vec4f) -> vec4u {
  let x = half4(low);
  let y = half4(high);
  return vec4u(bitcast<u32>(x.xy), bitcast<u32>(x.zw), bitcast<u32>(y.xy), bitcast<u32>(y.zw));
}

fn turn(r: u32, c: u32, v: vec4f) {
  let at = r * 65u + c;
  turned[at] = v.x;
  turned[at + 1u] = v.y;
  turned[at + 2u] = v.z;
  turned[at + 3u] = v.w;
}

// The id-th vector: 8 rows of one column.
fn put(id: u32, row0: u32, col0: u32) {
  let c = id / 2u % 64u;
  let panel = id / 128u;
  let r = (panel * 16u + id % 2u * 8u) * 65u + c;
  let low = vec4f(turned[r], turned[r + 65u], turned[r + 130u], turned[r + 195u]);
  let high = vec4f(turned[r + 260u], turned[r + 325u], turned[r + 390u], turned[r + 455u]);
  dst[((row0 / 16u + panel) * params.padded + col0 + c) * 2u + id % 2u] = packed(low, high);
}

@compute @workgroup_size(256)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let row0 = group.x * 64u;
  let col0 = group.y * 64u;
  let up = scaling();
  let r = t / 16u;
  let c = t % 16u * 4u;
  // Four loads at once.
  let v0 = four(row0 + r, col0 + c);
  let v1 = four(row0 + r + 16u, col0 + c);
  let v2 = four(row0 + r + 32u, col0 + c);
  let v3 = four(row0 + r + 48u, col0 + c);
  turn(r, c, v0 * up);
  turn(r + 16u, c, v1 * up);
  turn(r + 32u, c, v2 * up);
  turn(r + 48u, c, v3 * up);
  workgroupBarrier();
  put(t, row0, col0);
  put(t + 256u, row0, col0);
}
