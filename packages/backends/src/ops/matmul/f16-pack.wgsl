// f32 [rows, cols] to panels of 16 f16: `by_columns` makes panels of columns (k runs over the rows), `by_rows` panels of
// rows (k over the columns). A panel is [k_padded, 16]; zeros where the matrix has nothing. SCALED: times scale_up. One
// workgroup makes 64 k of four panels: x of the grid counts these, y runs of 64 k.
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

@compute @workgroup_size(256)
fn by_columns(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let up = scaling();
  for (var id = t; id < 512u; id += 256u) {
    let k = group.y * 64u + id / 2u % 64u;
    let col = group.x * 64u + id / 128u * 16u + id % 2u * 8u;
    dst[(col / 16u * params.k_padded + k) * 2u + id % 2u] = packed(four(k, col) * up, four(k, col + 4u) * up);
  }
}

@compute @workgroup_size(256)
fn by_rows(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let up = scaling();
  for (var id = t; id < 1024u; id += 256u) {
    let r = id / 16u;
    let c = id % 16u * 4u;
    let v = four(group.x * 64u + r, group.y * 64u + c) * up;
    turned[r * 65u + c] = v.x;
    turned[r * 65u + c + 1u] = v.y;
    turned[r * 65u + c + 2u] = v.z;
    turned[r * 65u + c + 3u] = v.w;
  }
  workgroupBarrier();
  for (var id = t; id < 512u; id += 256u) {
    let k = id / 2u % 64u;
    let panel = id / 128u;
    let r = (panel * 16u + id % 2u * 8u) * 65u + k;
    let low = vec4f(turned[r], turned[r + 65u], turned[r + 130u], turned[r + 195u]);
    let high = vec4f(turned[r + 260u], turned[r + 325u], turned[r + 390u], turned[r + 455u]);
    dst[((group.x * 4u + panel) * params.k_padded + group.y * 64u + k) * 2u + id % 2u] = packed(low, high);
  }
}
