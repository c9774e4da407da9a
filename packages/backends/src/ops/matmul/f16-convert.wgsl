// f32 to f16: finite values saturate at ±65504 instead of becoming infinite; infinity and NaN stay what they are.
fn half4(v: vec4f) -> vec4<f16> {
  let special = (bitcast<vec4u>(v) & vec4u(0x7f800000u)) == vec4u(0x7f800000u);
  return vec4<f16>(select(clamp(v, vec4f(-65504.0), vec4f(65504.0)), v, special));
}

// The power of two that brings a matrix whose largest magnitude has these bits to 2^14 … 2^15, and its inverse.
fn scale_up(largest: u32) -> f32 { return bitcast<f32>((268u - clamp(largest >> 23u, 28u, 254u)) << 23u); }
fn scale_down(largest: u32) -> f32 { return bitcast<f32>((clamp(largest >> 23u, 28u, 254u) - 14u) << 23u); }
