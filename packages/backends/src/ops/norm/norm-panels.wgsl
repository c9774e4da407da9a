// `plain` of norm-workgroup.wgsl, which also writes its result as panels of the f16 matmul: for the few rows of a decode step.
@group(0) @binding(4) var<storage, read_write> panels: array<f16>;

@compute @workgroup_size(WG)
fn plain_panels(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let s = row_stats(row * params.dim, lane);
  keep(row, lane, s);
  for (var c = lane; c < params.dim; c += WG) {
    let y = scaled(row * params.dim + c, c, s);
    out[row * params.dim + c] = y;
    panels[(row / 16u * params.dim + c) * 16u + row % 16u] = half4(vec4f(y)).x;
  }
}
