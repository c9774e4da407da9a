// Where an operand of decode-product.wgsl with `columns` columns has an element, and a value for it: finite ones saturate.
fn octet_at(row: u32, column: u32, columns: u32) -> u32 {
  return ((row / 16u * (columns / 8u) + column / 8u) * 16u + row % 16u) * 8u + column % 8u;
}

fn half_of(v: f32) -> f16 { return half4(vec4f(v)).x; }
