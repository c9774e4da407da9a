// Softmax statistics of one row of logits, put before logprobs.wgsl and sample.wgsl so that both compute bit-equal
// log-probs. They bring: `logits` [rows, vocab], params.{vocab, valid, inv_t} and `kept4(row, column, x)`, which says
// which of the four columns from `column` (a multiple of 4) with logits x take part.
struct RowStats {
  // Largest kept logit over the temperature, log Σ exp(z − top), entropy in nats.
  top: f32,
  log_sum: f32,
  entropy: f32,
}

const LOWEST = -3.4028234e38;
const NEXT4 = vec4u(0u, 1u, 2u, 3u);

fn load4(row: u32, column: u32) -> vec4f {
  let at = vec4u(row * params.vocab) + min(column + NEXT4, vec4u(params.valid - 1u));
  return vec4f(logits[at.x], logits[at.y], logits[at.z], logits[at.w]);
}

// Sums run over the columns ascending in four lanes (column mod 4), then (x + y) + (z + w).
fn row_stats(row: u32) -> RowStats {
  var top4 = vec4f(LOWEST);
  for (var j = 0u; j < params.valid; j += 4u) {
    let x = load4(row, j);
    let kept = kept4(row, j, x) & (j + NEXT4 < vec4u(params.valid));
    top4 = max(top4, select(vec4f(LOWEST), x * params.inv_t, kept));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  var sum4 = vec4f();
  var weighted4 = vec4f();
  for (var j = 0u; j < params.valid; j += 4u) {
    let x = load4(row, j);
    let kept = kept4(row, j, x) & (j + NEXT4 < vec4u(params.valid));
    let z = select(vec4f(), x * params.inv_t - top, kept);
    let e = select(vec4f(), exp(z), kept);
    sum4 += e;
    weighted4 += e * z;
  }
  let sum = (sum4.x + sum4.y) + (sum4.z + sum4.w);
  let weighted = (weighted4.x + weighted4.y) + (weighted4.z + weighted4.w);
  let log_sum = log(sum);
  return RowStats(top, log_sum, log_sum - weighted / sum);
}

fn log_prob_of(x: f32, stats: RowStats) -> f32 {
  return (x * params.inv_t - stats.top) - stats.log_sum;
}
