// norm = √Σ squares, factor = min(1, max_norm / (norm + 1e-6)).
@group(0) @binding(0) var<storage, read> squares: array<f32>;
@group(0) @binding(1) var<storage, read_write> factor: array<f32>;
@group(0) @binding(2) var<storage, read_write> norm: array<f32>;

@compute @workgroup_size(1)
fn main() {
  var sum = 0.0;
  for (var i = 0u; i < params.count; i++) { sum += squares[i]; }
  let n = sqrt(sum);
  norm[0] = n;
  factor[0] = min(1.0, params.max_norm / (n + 1e-6));
}
