// Keys and values of new tokens go to their pages: token t to the last key of its row. A workgroup does one token.
@group(0) @binding(0) var<storage, read> k: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read> rows: array<u32>;
@group(0) @binding(3) var<storage, read> page_table: array<u32>;
@group(0) @binding(4) var<storage, read_write> k_pool: array<f32>;
@group(0) @binding(5) var<storage, read_write> v_pool: array<f32>;

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let t = group.x + group.y * groups.x;
  if (t >= params.count) { return; }
  let at = params.row_offset + t * params.row_stride;
  let key = rows[at + 1u] - 1u;
  let page = page_table[rows[at] * params.table_stride + (key >> params.page_bits)];
  let row = (page << params.page_bits) + (key & ((1u << params.page_bits) - 1u));
  if (row >= params.limit) { return; }
  for (var c = lane; c < params.columns; c += WG) {
    k_pool[row * params.columns + c] = k[params.k_offset + t * params.k_stride + c];
    v_pool[row * params.columns + c] = v[params.v_offset + t * params.v_stride + c];
  }
}
