// row-softmax.wgsl for GPUs: WG lanes share a row, lane l takes the columns l, l + WG, …, sums are joined as a binary
// tree. Put before logprobs-workgroup.wgsl and sample-workgroup.wgsl, which bring `logits`, params.{vocab, valid}
// and `kept(row, column, x)`. Call it in uniform control flow.
struct RowStats {
  // Largest kept logit over the temperature, log Σ exp(z − top), entropy in nats.
  top: f32,
  log_sum: f32,
  entropy: f32,
}

const LOWEST = -3.4028234e38;
// 1 / temperature of the row, to be set before the functions are called.
var<private> inv_t: f32;
var<private> lane: u32;
var<workgroup> joined: array<vec2f, WG>;

fn join_sum(x: vec2f) -> vec2f {
  joined[lane] = x;
  for (var n = WG / 2u; n > 0u; n /= 2u) {
    workgroupBarrier();
    if (lane < n) { joined[lane] = joined[lane] + joined[lane + n]; }
  }
  return workgroupUniformLoad(&joined[0]);
}

fn join_max(x: vec2f) -> vec2f {
  joined[lane] = x;
  for (var n = WG / 2u; n > 0u; n /= 2u) {
    workgroupBarrier();
    if (lane < n) { joined[lane] = max(joined[lane], joined[lane + n]); }
  }
  return workgroupUniformLoad(&joined[0]);
}

fn row_stats(row: u32) -> RowStats {
  let at = row * params.vocab;
  var lane_top = LOWEST;
  for (var j = lane; j < params.valid; j += WG) {
    let x = logits[at + j];
    lane_top = max(lane_top, select(LOWEST, x, kept(row, j, x)));
  }
  let top = join_max(vec2f(lane_top)).x * inv_t;
  var sums = vec2f();
  for (var j = lane; j < params.valid; j += WG) {
    let x = logits[at + j];
    if (kept(row, j, x)) {
      let z = fma(x, inv_t, -top);
      let e = exp(z);
      sums = vec2f(sums.x + e, fma(e, z, sums.y));
    }
  }
  let total = join_sum(sums);
  let log_sum = log(total.x);
  return RowStats(top, log_sum, log_sum - total.y / total.x);
}

fn log_prob_of(x: f32, stats: RowStats) -> f32 {
  return fma(x, inv_t, -stats.top) - stats.log_sum;
}
