// Softmax statistics of one row of logits, put before logprobs.wgsl and sample.wgsl so that both compute bit-equal
// log-probs. They bring: `logits` [rows, vocab], params.{vocab, valid} and `kept4(row, column, x)`, which says
// which of the four columns from `column` (a multiple of 4) with logits x take part.
struct RowStats {
  // Largest kept logit over the temperature, log Σ exp(z − top), entropy in nats.
  top: f32,
  log_sum: f32,
  entropy: f32,
}

const LOWEST = -3.4028234e38;
// 1 / temperature of the row, to be set before the functions are called.
var<private> inv_t: f32;
const NEXT4 = vec4u(0u, 1u, 2u, 3u);

fn load4(at: u32) -> vec4f {
  return vec4f(logits[at], logits[at + 1u], logits[at + 2u], logits[at + 3u]);
}

// The last one to three columns; what lies beyond repeats the last one and is not kept.
fn load_rest(at: u32, column: u32) -> vec4f {
  let i = at + min(column + NEXT4, vec4u(params.valid - 1u));
  return vec4f(logits[i.x], logits[i.y], logits[i.z], logits[i.w]);
}

fn kept_rest(row: u32, column: u32, x: vec4f) -> vec4<bool> {
  return kept4(row, column, x) & (column + NEXT4 < vec4u(params.valid));
}

// Sums run over the columns ascending in four lanes (column mod 4), then (x + y) + (z + w).
fn row_stats(row: u32) -> RowStats {
  let at = row * params.vocab;
  let whole = params.valid & 0xfffffffcu;
  var top4 = vec4f(LOWEST);
  for (var j = 0u; j < whole; j += 4u) {
    let x = load4(at + j);
    top4 = max(top4, select(vec4f(LOWEST), x, kept4(row, j, x)));
  }
  if (whole < params.valid) {
    let x = load_rest(at, whole);
    top4 = max(top4, select(vec4f(LOWEST), x, kept_rest(row, whole, x)));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w)) * inv_t;
  var sum4 = vec4f();
  var weighted4 = vec4f();
  for (var j = 0u; j < whole; j += 4u) {
    let x = load4(at + j);
    let kept = kept4(row, j, x);
    let z = select(vec4f(), x * inv_t - top, kept);
    let e = select(vec4f(), exp(z), kept);
    sum4 += e;
    weighted4 += e * z;
  }
  if (whole < params.valid) {
    let x = load_rest(at, whole);
    let kept = kept_rest(row, whole, x);
    let z = select(vec4f(), x * inv_t - top, kept);
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
  return (x * inv_t - stats.top) - stats.log_sum;
}
