// `lookup`: dst[i] = factor·table[ids[i] − row_offset], zero outside the table. `backward`: csr = rows [unique] ‖
// starts [unique + 1] ‖ positions [n] made by the host; dst[row] += factor·Σ d[position], positions ascending.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;

@compute @workgroup_size(WG)
fn lookup(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  if (at >= params.count * params.dim) { return; }
  let row = ids[params.id_offset + at / params.dim * params.id_stride] - params.row_offset;
  var value = 0.0;
  if (row >= 0 && u32(row) < params.rows) { value = params.factor * table[u32(row) * params.dim + at % params.dim]; }
  if (params.accumulate != 0u) { value += dst[at]; }
  dst[at] = value;
}

// `table` is dOut, `ids` the csr, `count` the number of unique rows.
@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  if (at >= params.count * params.dim) { return; }
  let u = at / params.dim;
  let c = at % params.dim;
  let end = u32(ids[params.count + u + 1u]);
  let positions = 2u * params.count + 1u;
  var sum = 0.0;
  for (var p = u32(ids[params.count + u]); p < end; p++) { sum += table[u32(ids[positions + p]) * params.dim + c]; }
  let i = u32(ids[u]) * params.dim + c;
  dst[i] = fma(params.factor, sum, dst[i]);
}
