// The end of the head: logits.
@group(0) @binding(3) var<storage, read_write> logits: array<f32>;

fn finish(row: u32, inverse: f32, block: u32, column: u32, sums: vec2f) -> f32 {
  if (column < params.n) { logits[row * params.n + column] = sums.x * inverse; }
  return 0.0;
}

fn keep_squares(row: u32, part: u32, sum: f32) {}
