// Norm backward for rows of 4·params.quads columns: a workgroup does params.block rows one after another and keeps, by
// column, their part of the weights' (and biases') gradients, so that x and dOut are read once. With x̂ = (x − mean)/σ and
// g = dOut·w: dx = (g − [layer] mean(g) − x̂·mean(g·x̂))/σ. partial = [2, blocks, dim] as norm-weights.wgsl leaves it.
// Follows row-total.wgsl. A row's dx does not depend on its neighbours.
@group(0) @binding(0) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partial: array<vec4f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> weight: array<vec4f>;
@group(0) @binding(5) var<storage, read> d_out: array<vec4f>;

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = group.x + group.y * groups.x;
  if (block >= params.blocks) { return; }
  let dim = f32(4u * params.quads);
  var d_weight: array<vec4f, PER>;
  var d_bias: array<vec4f, PER>;
  var hat: array<vec4f, PER>;
  var g: array<vec4f, PER>;
  var old: array<vec4f, PER>;
  for (var i = 0u; i < PER; i++) {
    d_weight[i] = vec4f();
    d_bias[i] = vec4f();
  }
  let end = min(params.rows, (block + 1u) * params.block);
  for (var row = block * params.block; row < end; row++) {
    let begin = row * params.quads;
    let s = stats[row];
    var sum = vec4f();
    var dot = vec4f();
    for (var i = 0u; i < PER; i++) {
      let c = lane + i * WG;
      hat[i] = vec4f();
      g[i] = vec4f();
      old[i] = vec4f();
      if (c < params.quads) {
        let d = d_out[begin + c];
        if (params.accumulate != 0u) { old[i] = dx[begin + c]; }
        hat[i] = (x[begin + c] - s.x) * s.y;
        g[i] = d * select(weight[c], 1.0 + weight[c], vec4<bool>(KIND == 2u));
        d_weight[i] = fma(d, hat[i], d_weight[i]);
        d_bias[i] += d;
      }
      sum += g[i];
      dot = fma(g[i], hat[i], dot);
    }
    let all = total2(lane, vec2f((sum.x + sum.y) + (sum.z + sum.w), (dot.x + dot.y) + (dot.z + dot.w))) / dim;
    let shift = select(0.0, all.x, KIND == 0u);
    for (var i = 0u; i < PER; i++) {
      let c = lane + i * WG;
      if (c < params.quads) {
        dx[begin + c] = old[i] + s.y * (g[i] - shift - hat[i] * all.y);
      }
    }
  }
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    if (c < params.quads) {
      partial[block * params.quads + c] = d_weight[i];
      if (params.with_bias != 0u) { partial[(params.blocks + block) * params.quads + c] = d_bias[i]; }
    }
  }
}
