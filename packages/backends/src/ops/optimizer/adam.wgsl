// AdamW on the elements begin ≤ i < end: `quads` four at a time (begin and end count vec4s), `singles` one by one.
@group(0) @binding(0) var<storage, read_write> param4: array<vec4f>;
@group(0) @binding(1) var<storage, read> grad4: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> m4: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> v4: array<vec4f>;
@group(0) @binding(4) var<storage, read> grad_scale: array<f32>;
@group(0) @binding(0) var<storage, read_write> param: array<f32>;
@group(0) @binding(1) var<storage, read> grad: array<f32>;
@group(0) @binding(2) var<storage, read_write> m: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(WG)
fn quads(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = params.begin + linear_index(id, groups, WG);
  if (i >= params.end) { return; }
  let g = grad4[i] * grad_scale[0];
  let first = params.beta1 * m4[i] + (1.0 - params.beta1) * g;
  let second = params.beta2 * v4[i] + (1.0 - params.beta2) * g * g;
  m4[i] = first;
  v4[i] = second;
  let step = first * params.correction1 / (sqrt(second * params.correction2) + params.eps);
  let before = param4[i];
  param4[i] = before - params.lr * (step + params.weight_decay * before);
}

@compute @workgroup_size(WG)
fn singles(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = params.begin + linear_index(id, groups, WG);
  if (i >= params.end) { return; }
  let g = grad[i] * grad_scale[0];
  let first = params.beta1 * m[i] + (1.0 - params.beta1) * g;
  let second = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
  m[i] = first;
  v[i] = second;
  let step = first * params.correction1 / (sqrt(second * params.correction2) + params.eps);
  let before = param[i];
  param[i] = before - params.lr * (step + params.weight_decay * before);
}
