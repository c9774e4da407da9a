// f32 [rows, cols] to f16 in whole tiles [dst_rows, dst_cols], dst_cols a multiple of 8: zeros where there is nothing.
// One invocation makes 8. SCALED: multiplied by scale_up. `largest_magnitude` finds the bits for that.
@group(0) @binding(0) var<storage, read_write> dst: array<vec4u>;
@group(0) @binding(2) var<storage, read> largest: array<u32>;

fn packed(row: u32, col: u32, up: f32) -> vec2u {
  if (row >= params.rows || col >= params.cols) { return vec2u(); }
  let h = half4(load(row * params.cols + col, params.cols - col) * up);
  return vec2u(bitcast<u32>(h.xy), bitcast<u32>(h.zw));
}

@compute @workgroup_size(WG)
fn pack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  let across = params.dst_cols / 8u;
  let row = at / across;
  let col = at % across * 8u;
  if (row >= params.dst_rows) { return; }
  var up = 1.0;
  if (SCALED == 1u) { up = scale_up(largest[0]); }
  dst[at] = vec4u(packed(row, col, up), packed(row, col + 4u, up));
}
