// Column sums in two stages of fixed order. `partial_sums`: partial[b, c] = Σ of x[offset + row·columns + c]
// over the b-th block of rows.
// `reduce`: dst[c] += Σ_b partial[offset + b·columns + c], b ascending.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;

@compute @workgroup_size(WG)
fn partial_sums(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  let columns = params.columns;
  if (at >= params.blocks * columns) { return; }
  let block = at / columns;
  let end = min(params.rows, (block + 1u) * BLOCK);
  var i = params.offset + block * BLOCK * columns + at % columns;
  var sum = 0.0;
  for (var row = block * BLOCK; row < end; row++) {
    sum += x[i];
    i += columns;
  }
  dst[at] = sum;
}

@compute @workgroup_size(WG)
fn reduce(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let c = linear_index(id, groups, WG);
  if (c >= params.columns) { return; }
  var sum = 0.0;
  for (var b = 0u; b < params.blocks; b++) { sum += x[params.offset + b * params.columns + c]; }
  dst[c] = dst[c] + sum;
}
