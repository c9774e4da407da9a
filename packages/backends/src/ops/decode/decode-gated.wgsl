// The end of the projection to gate and up: f(gate)·up as the next operand. Follows activation.wgsl's functions.
@group(0) @binding(3) var<storage, read_write> octets_out: array<f16>;

fn finish(row: u32, inverse: f32, block: u32, column: u32, sums: vec2f) -> f32 {
  let z = sums * inverse;
  octets_out[octet_at(row, column, params.n)] = half_of(activated(z.x) * z.y);
  return 0.0;
}

fn keep_squares(row: u32, part: u32, sum: f32) {}

fn activated(v: f32) -> f32 {
  // KIND as in activation.wgsl: 1 gelu_tanh, 2 silu, 3 relu. ½·(1 + tanh u) = sigmoid(2u).
  if (KIND == 3u) { return max(v, 0.0); }
  if (KIND == 2u) { return v / (1.0 + exp(min(-v, 85.0))); }
  let c = clamp(v, -10.0, 10.0);
  return v / (1.0 + exp(-1.5957691 * fma(0.044715 * c * c, c, c)));
}
