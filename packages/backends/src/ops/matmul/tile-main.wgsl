// One register tile per invocation, no workgroup memory: for software adapters. Tiles are numbered along the columns.
@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let across = (params.n + 4u * COLS - 1u) / (4u * COLS);
  let at = linear_index(id, groups, WG);
  let i0 = at / across * ROWS;
  let j0 = at % across * 4u * COLS;
  if (i0 >= params.m) { return; }
  accumulate_tile(i0, j0);
  store_tile(i0, j0);
}
