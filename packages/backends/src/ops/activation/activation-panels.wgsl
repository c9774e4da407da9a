// `gated` of activation.wgsl, which also writes its result as panels of the f16 matmul: for the few rows of a decode step.
@group(0) @binding(3) var<storage, read_write> panels: array<f16>;

@compute @workgroup_size(WG)
fn gated_panels(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (i >= params.count) { return; }
  let row = i / params.inner;
  let at = i + row * params.inner;
  let z = value(x[at]) * x[at + params.inner];
  y[i] = z;
  panels[(row / 16u * params.inner + i % params.inner) * 16u + row % 16u] = half4(vec4f(z)).x;
}
