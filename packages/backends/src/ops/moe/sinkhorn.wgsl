// Sinkhorn scaling of exp(logits) [rows, n] towards equal row and column sums (Sinkhorn 1964; as Megatron-LM routes), by
// one workgroup. Only the column factors d1 are kept: within a row, the order of d0·exp(logit)·d1 is that of logit + ln d1.
// Rows are divided by their largest element, which d0 absorbs.
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> bias: array<f32>;
// exp(logits − largest of the row) [rows, n], then d0 [rows].
@group(0) @binding(2) var<storage, read_write> cost: array<f32>;
var<workgroup> partial: array<f32, WG>;
var<workgroup> change: f32;

@compute @workgroup_size(WG)
fn main(@builtin(local_invocation_index) lane: u32) {
  let rows = params.rows;
  let n = params.n;
  let d0 = rows * n;
  for (var t = lane; t < rows; t += WG) {
    var top = logits[t * n];
    for (var e = 1u; e < n; e++) { top = max(top, logits[t * n + e]); }
    for (var e = 0u; e < n; e++) { cost[t * n + e] = exp(logits[t * n + e] - top); }
  }
  for (var e = lane; e < n; e += WG) { bias[e] = 1.0; }
  storageBarrier();
  workgroupBarrier();
  for (var round = 0u; round < params.rounds; round++) {
    for (var t = lane; t < rows; t += WG) {
      var sum = 0.0;
      for (var e = 0u; e < n; e++) { sum += bias[e] * cost[t * n + e]; }
      cost[d0 + t] = 1.0 / (f32(rows) * (sum + 1e-8));
    }
    if (lane == 0u) { change = 0.0; }
    storageBarrier();
    workgroupBarrier();
    for (var e = 0u; e < n; e++) {
      var sum = 0.0;
      for (var t = lane; t < rows; t += WG) { sum += cost[d0 + t] * cost[t * n + e]; }
      partial[lane] = sum;
      workgroupBarrier();
      for (var step = WG / 2u; step > 0u; step /= 2u) {
        if (lane < step) { partial[lane] += partial[lane + step]; }
        workgroupBarrier();
      }
      if (lane == 0u) {
        let next = 1.0 / (f32(n) * (partial[0] + 1e-8));
        change += abs(next - bias[e]);
        bias[e] = next;
      }
      workgroupBarrier();
    }
    storageBarrier();
    if (!(workgroupUniformLoad(&change) > 1e-4 * f32(n))) { break; }
  }
  workgroupBarrier();
  for (var e = lane; e < n; e += WG) { bias[e] = log(bias[e]); }
}
