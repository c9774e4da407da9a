// Activations and their derivatives, plain and gated. KIND: 0 gelu (erf), 1 gelu_tanh, 2 silu, 3 relu.
// Arguments of exp are clamped: infinity times zero is NaN.
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> d: array<f32>;

// Φ(v), the normal distribution function: ½·erfc(|v|/√2) by Abramowitz & Stegun 7.1.26 (error 1.5e-7), mirrored for v > 0.
fn normal_cdf(v: f32) -> f32 {
  let z = min(abs(v) * 0.70710678, 9.0);
  let t = 1.0 / fma(0.3275911, z, 1.0);
  let p = t * fma(t, fma(t, fma(t, fma(t, 1.061405429, -1.453152027), 1.421413741), -0.284496736), 0.254829592);
  let tail = 0.5 * p * exp(-z * z);
  return select(tail, 1.0 - tail, v > 0.0);
}

fn sigmoid(v: f32) -> f32 { return 1.0 / (1.0 + exp(min(-v, 85.0))); }

// ½·(1 + tanh u) = sigmoid(2u), u = √(2/π)·(v + 0.044715·v³): no cancellation in the negative tail. |v| ≤ 10: beyond it is 0 or 1.
fn gelu_tanh_gate(v: f32) -> f32 { return sigmoid(1.5957691 * fma(0.044715 * v * v, v, v)); }

fn value(v: f32) -> f32 {
  if (KIND == 0u) { return v * normal_cdf(v); }
  if (KIND == 1u) { return v * gelu_tanh_gate(clamp(v, -10.0, 10.0)); }
  if (KIND == 2u) { return v * sigmoid(v); }
  return max(v, 0.0);
}

fn slope(v: f32) -> f32 {
  if (KIND == 0u) {
    let c = clamp(v, -12.0, 12.0);
    return fma(c * 0.39894228, exp(-0.5 * c * c), normal_cdf(v));
  }
  if (KIND == 1u) {
    let c = clamp(v, -10.0, 10.0);
    let s = gelu_tanh_gate(c);
    return s * fma(c * (1.0 - s), 1.5957691 * fma(0.134145 * c, c, 1.0), 1.0);
  }
  if (KIND == 2u) {
    let s = sigmoid(v);
    return s * fma(clamp(v, -85.0, 85.0), 1.0 - s, 1.0);
  }
  return select(0.0, 1.0, v > 0.0);
}

@compute @workgroup_size(WG)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { y[i] = value(x[i]); }
}

@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { y[i] = d[i] * slope(x[i]); }
}

// y holds dOut.
@compute @workgroup_size(WG)
fn backward_in_place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i < params.count) { y[i] = y[i] * slope(x[i]); }
}

// Gated: x rows are gate ‖ up of `inner` columns each; `count` counts outputs (rows·inner).
@compute @workgroup_size(WG)
fn gated(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let at = i + i / params.inner * params.inner;
  y[i] = value(x[at]) * x[at + params.inner];
}

@compute @workgroup_size(WG)
fn gated_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let at = i + i / params.inner * params.inner;
  let gate = x[at];
  y[at] = d[i] * x[at + params.inner] * slope(gate);
  y[at + params.inner] = d[i] * value(gate);
}

// y holds gate ‖ up, x is dOut.
@compute @workgroup_size(WG)
fn gated_backward_in_place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let at = i + i / params.inner * params.inner;
  let gate = y[at];
  y[at] = x[i] * y[at + params.inner] * slope(gate);
  y[at + params.inner] = x[i] * value(gate);
}
