// Rows by index, as raw 32-bit words; `accumulate` adds f32. A workgroup does one row. Indices beyond the table are
// skipped.
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> dst: array<u32>;
@group(0) @binding(0) var<storage, read> src_f: array<f32>;
@group(0) @binding(2) var<storage, read_write> dst_f: array<f32>;

@compute @workgroup_size(WG)
fn gather(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let line = group.x + group.y * groups.x;
  if (line >= params.rows) { return; }
  let row = index[line];
  if (row >= params.limit) { return; }
  for (var c = lane; c < params.columns; c += WG) {
    dst[line * params.columns + c] = src[row * params.columns + c];
  }
}

// The destination row of a source row.
fn target_row(line: u32) -> u32 {
  return index[line * params.index_stride + params.index_offset] + u32(params.index_bias);
}

@compute @workgroup_size(WG)
fn scatter(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let line = group.x + group.y * groups.x;
  if (line >= params.rows) { return; }
  let row = target_row(line);
  if (row >= params.limit) { return; }
  for (var c = lane; c < params.columns; c += WG) {
    dst[row * params.columns + c] = src[params.src_offset + line * params.src_stride + c];
  }
}

@compute @workgroup_size(WG)
fn accumulate(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let line = group.x + group.y * groups.x;
  if (line >= params.rows) { return; }
  let row = target_row(line);
  if (row >= params.limit) { return; }
  for (var c = lane; c < params.columns; c += WG) {
    let at = row * params.columns + c;
    dst_f[at] = dst_f[at] + src_f[params.src_offset + line * params.src_stride + c];
  }
}
