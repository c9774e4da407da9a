// Rows by index, as raw 32-bit words; `accumulate` adds f32. Indices beyond the source or destination are skipped.
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> dst: array<u32>;
@group(0) @binding(0) var<storage, read> src_f: array<f32>;
@group(0) @binding(2) var<storage, read_write> dst_f: array<f32>;

@compute @workgroup_size(WG)
fn gather(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.rows * params.columns) { return; }
  let row = index[i / params.columns];
  if (row < params.limit) { dst[i] = src[row * params.columns + i % params.columns]; }
}

@compute @workgroup_size(WG)
fn scatter(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.rows * params.columns) { return; }
  let line = i / params.columns;
  let column = i % params.columns;
  let row = index[line * params.index_stride + params.index_offset] + u32(params.index_bias);
  if (row < params.limit) {
    dst[row * params.columns + column] = src[params.src_offset + line * params.src_stride + column];
  }
}

@compute @workgroup_size(WG)
fn accumulate(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.rows * params.columns) { return; }
  let line = i / params.columns;
  let column = i % params.columns;
  let row = index[line * params.index_stride + params.index_offset] + u32(params.index_bias);
  if (row < params.limit) {
    let at = row * params.columns + column;
    dst_f[at] = dst_f[at] + src_f[params.src_offset + line * params.src_stride + column];
  }
}
