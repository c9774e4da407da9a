// The end of a projection back into the residual stream: x += sum, x times the gains of the next norm (and a sixteenth) as
// the next operand, and the squares that this norm needs, one number a row and workgroup.
@group(0) @binding(3) var<storage, read> gains: array<f32>;
@group(0) @binding(4) var<storage, read_write> x: array<f32>;
@group(0) @binding(5) var<storage, read_write> octets_out: array<f16>;
@group(0) @binding(6) var<storage, read_write> squares_out: array<f32>;

fn finish(row: u32, inverse: f32, block: u32, column: u32, sums: vec2f) -> f32 {
  let at = row * params.n + column;
  let y = x[at] + sums.x;
  x[at] = y;
  octets_out[octet_at(row, column, params.n)] = half_of(y * (params.gain + gains[column]) * 0.0625);
  return y * y;
}

fn keep_squares(row: u32, part: u32, sum: f32) { squares_out[row * params.parts_out + part] = sum; }
