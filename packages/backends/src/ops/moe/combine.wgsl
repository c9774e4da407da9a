// Copies back to tokens: out[t] = Σ_j weight[t, j]·rows[row_of[t, j]] in the order of j, and its backward.
@group(0) @binding(0) var<storage, read_write> dst: array<f32>;
@group(0) @binding(1) var<storage, read> rows: array<f32>;
@group(0) @binding(2) var<storage, read> row_of: array<u32>;
@group(0) @binding(3) var<storage, read> weights: array<f32>;
@group(0) @binding(4) var<storage, read> d_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> d_weights: array<f32>;

const NONE = 0xffffffffu;

@compute @workgroup_size(WG)
fn combine(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  if (at >= params.count) { return; }
  let t = at / params.columns;
  let column = at % params.columns;
  var sum = 0.0;
  for (var c = t * params.top_k; c < (t + 1u) * params.top_k; c++) {
    let row = row_of[c];
    if (row == NONE) { continue; }
    let x = rows[row * params.columns + column];
    if (params.weighted != 0u) { sum = fma(weights[c], x, sum); } else { sum += x; }
  }
  if (params.accumulate != 0u) { dst[at] = dst[at] + sum; } else { dst[at] = sum; }
}

// A copy a thread (software adapters): dst is dRows.
@compute @workgroup_size(WG)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let c = linear_index(id, groups, WG);
  if (c >= params.count) { return; }
  let row = row_of[c];
  var dot = 0.0;
  if (row != NONE) {
    let target_row = row * params.columns;
    let source = c / params.top_k * params.columns;
    let weight = weights[c];
    for (var i = 0u; i < params.columns; i++) {
      let d = d_out[source + i];
      dst[target_row + i] = weight * d;
      dot = fma(d, rows[target_row + i], dot);
    }
  }
  d_weights[c] = dot;
}

var<workgroup> partial: array<f32, 64>;

// A copy a workgroup of 64 (GPUs).
@compute @workgroup_size(64)
fn backward_workgroup(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let c = group.x + group.y * groups.x;
  let inside = c < params.count;
  let copy = min(c, params.count - 1u);
  let row = row_of[copy];
  let weight = weights[copy];
  var dot = 0.0;
  if (inside && row != NONE) {
    let target_row = row * params.columns;
    let source = copy / params.top_k * params.columns;
    for (var i = lane; i < params.columns; i += 64u) {
      let d = d_out[source + i];
      dst[target_row + i] = weight * d;
      dot = fma(d, rows[target_row + i], dot);
    }
  }
  partial[lane] = dot;
  workgroupBarrier();
  for (var step = 32u; step > 0u; step /= 2u) {
    if (lane < step) { partial[lane] += partial[lane + step]; }
    workgroupBarrier();
  }
  if (inside && lane == 0u) { d_weights[copy] = partial[0]; }
}
