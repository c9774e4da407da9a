// A decode step's first rows: x, x times the gains of the first norm (and a sixteenth) as an operand, and its squares. One
// workgroup a row.
@group(0) @binding(0) var<storage, read> table: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<i32>;
@group(0) @binding(2) var<storage, read> gains: array<f32>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;
@group(0) @binding(4) var<storage, read_write> octets_out: array<f16>;
@group(0) @binding(5) var<storage, read_write> squares_out: array<f32>;
var<workgroup> lanes: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x;
  let id = ids[row];
  let known = id >= 0 && u32(id) < params.table_rows;
  var sum = 0.0;
  for (var c = t; c < params.n; c += 256u) {
    var y = 0.0;
    if (known) { y = params.factor * table[u32(id) * params.n + c]; }
    x[row * params.n + c] = y;
    octets_out[octet_at(row, c, params.n)] = half_of(y * (params.gain + gains[c]) * 0.0625);
    sum = fma(y, y, sum);
  }
  lanes[t] = sum;
  for (var width = 128u; width > 0u; width /= 2u) {
    workgroupBarrier();
    if (t < width) { lanes[t] += lanes[t + width]; }
  }
  if (t == 0u) { squares_out[row] = lanes[0]; }
}
