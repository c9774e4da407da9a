// Norm backward for rows of 4·params.quads columns: a workgroup does params.block rows, ROWS (1 or 2) at a time, and keeps, by
// column, their part of the weights' (and biases') gradients, so that x and dOut are read once. With x̂ = (x − mean)/σ and
// g = dOut·w: dx = (g − [layer] mean(g) − x̂·mean(g·x̂))/σ. partial = [2, blocks, dim] as norm-weights.wgsl leaves it.
// Follows row-total.wgsl. A row's dx does not depend on its neighbours.
@group(0) @binding(0) var<storage, read_write> dx: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> partial: array<vec4f>;
@group(0) @binding(2) var<storage, read> stats: array<vec2f>;
@group(0) @binding(3) var<storage, read> x: array<vec4f>;
@group(0) @binding(4) var<storage, read> weight: array<vec4f>;
@group(0) @binding(5) var<storage, read> d_out: array<vec4f>;

var<private> hat: array<vec4f, ROWS * PER>;
var<private> g: array<vec4f, ROWS * PER>;
var<private> old: array<vec4f, ROWS * PER>;
var<private> d_weight: array<vec4f, PER>;
var<private> d_bias: array<vec4f, PER>;

// Loads the lane's quads of a row into slots from `at` on, nothing if it is not `here`.
fn load(row: u32, at: u32, lane: u32, here: bool) {
  let begin = row * params.quads;
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    hat[at + i] = vec4f();
    g[at + i] = vec4f();
    old[at + i] = vec4f();
    if (here && c < params.quads) {
      hat[at + i] = x[begin + c];
      g[at + i] = d_out[begin + c];
      if (params.accumulate != 0u) { old[at + i] = dx[begin + c]; }
    }
  }
}

// x̂ and g of the row and its part of the gradients; Σ g and Σ g·x̂ of the lane.
fn sums_of(row: u32, at: u32, lane: u32, here: bool) -> vec2f {
  var sum = vec4f();
  var dot = vec4f();
  if (here) {
    let s = stats[row];
    for (var i = 0u; i < PER; i++) {
      let c = lane + i * WG;
      if (c < params.quads) {
        let d = g[at + i];
        let h = (hat[at + i] - s.x) * s.y;
        hat[at + i] = h;
        g[at + i] = d * select(weight[c], 1.0 + weight[c], vec4<bool>(KIND == 2u));
        d_weight[i] = fma(d, h, d_weight[i]);
        d_bias[i] += d;
        sum += g[at + i];
        dot = fma(g[at + i], h, dot);
      }
    }
  }
  return vec2f(sum4(sum), sum4(dot));
}

fn store(row: u32, at: u32, lane: u32, here: bool, sums: vec2f) {
  if (!here) { return; }
  let inverse = stats[row].y;
  let mean = sums / f32(4u * params.quads);
  let shift = select(0.0, mean.x, KIND == 0u);
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    if (c < params.quads) {
      dx[row * params.quads + c] = old[at + i] + inverse * (g[at + i] - shift - hat[at + i] * mean.y);
    }
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let block = group.x + group.y * groups.x;
  if (block >= params.blocks) { return; }
  for (var i = 0u; i < PER; i++) {
    d_weight[i] = vec4f();
    d_bias[i] = vec4f();
  }
  let end = min(params.rows, (block + 1u) * params.block);
  for (var row = block * params.block; row < end; row += ROWS) {
    let more = ROWS > 1u && row + 1u < end;
    load(row, 0u, lane, true);
    if (ROWS > 1u) { load(row + 1u, PER, lane, more); }
    let first = sums_of(row, 0u, lane, true);
    var second = vec2f();
    if (ROWS > 1u) { second = sums_of(row + 1u, PER, lane, more); }
    let all = total_each(lane, vec4f(first, second));
    store(row, 0u, lane, true, all.xy);
    store(row + 1u, PER, lane, more, all.zw);
  }
  for (var i = 0u; i < PER; i++) {
    let c = lane + i * WG;
    if (c < params.quads) {
      partial[block * params.quads + c] = d_weight[i];
      if (params.with_bias != 0u) { partial[(params.blocks + block) * params.quads + c] = d_bias[i]; }
    }
  }
}
