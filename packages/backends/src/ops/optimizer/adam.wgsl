// AdamW on the elements begin ≤ i < end.
@group(0) @binding(0) var<storage, read_write> param: array<f32>;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> m: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read> grad_scale: array<f32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = params.begin + linear_index(id, groups, WG);
  if (i >= params.end) { return; }
  let g = grad[i] * grad_scale[0];
  let first = params.beta1 * m[i] + (1.0 - params.beta1) * g;
  let second = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
  m[i] = first;
  v[i] = second;
  let step = first * params.correction1 / (sqrt(second * params.correction2) + params.eps);
  param[i] = param[i] - params.lr * (step + params.weight_decay * param[i]);
}
