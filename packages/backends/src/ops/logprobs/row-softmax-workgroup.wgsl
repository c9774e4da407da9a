// row-softmax.wgsl for GPUs: WG lanes share a row, lane l takes the columns 4·(l + i·WG) + {0, 1, 2, 3}; the row is read
// once, with sums that are rescaled when a larger logit comes (Milakov & Gimelshein, arXiv 1805.02867), and lanes are joined
// as a binary tree. Put before logprobs-workgroup.wgsl and sample-workgroup.wgsl, which bring `logits`, params.{vocab,
// valid} and `kept(row, column, x)`. Call it in uniform control flow.
struct RowStats {
  // Largest kept logit over the temperature, log Σ exp(z − top), entropy in nats.
  top: f32,
  log_sum: f32,
  entropy: f32,
}

// Σ exp(z − top) and Σ exp(z − top)·(z − top) of four strands of columns.
struct Strands { top: vec4f, sum: vec4f, dot: vec4f }

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

fn logits4(at: u32) -> vec4f { return vec4f(logits[at], logits[at + 1u], logits[at + 2u], logits[at + 3u]); }

fn kept4(row: u32, j: u32, x: vec4f) -> vec4<bool> {
  return vec4<bool>(kept(row, j, x.x), kept(row, j + 1u, x.y), kept(row, j + 2u, x.z), kept(row, j + 3u, x.w));
}

// A logit that is not kept leaves the strands as they are. Terms of a strand without any are 0: exp(LOWEST − z) is.
fn add4(s: Strands, x: vec4f, here: vec4<bool>) -> Strands {
  let z = select(vec4f(LOWEST), x * inv_t, here);
  let top = max(s.top, z);
  let shift = s.top - top;
  let shrink = exp(shift);
  let e = select(vec4f(), exp(z - top), here);
  return Strands(top, fma(s.sum, shrink, e), fma(fma(s.sum, shift, s.dot), shrink, select(vec4f(), e * (z - top), here)));
}

fn row_stats(row: u32) -> RowStats {
  let at = row * params.vocab;
  var s = Strands(vec4f(LOWEST), vec4f(), vec4f());
  let whole = params.valid / 4u * 4u;
  var j = 4u * lane;
  for (; j + 4u * WG < whole; j += 8u * WG) {
    let a = logits4(at + j);
    let b = logits4(at + j + 4u * WG);
    s = add4(s, a, kept4(row, j, a));
    s = add4(s, b, kept4(row, j + 4u * WG, b));
  }
  if (j < whole) {
    let a = logits4(at + j);
    s = add4(s, a, kept4(row, j, a));
  }
  // The last one to three columns: a quad of them for lane 0.
  if (lane == 0u && whole < params.valid) {
    let last = params.valid - 1u;
    let i = min(whole + vec4u(0u, 1u, 2u, 3u), vec4u(last));
    let x = vec4f(logits[at + i.x], logits[at + i.y], logits[at + i.z], logits[at + i.w]);
    let here = vec4<bool>(kept(row, i.x, x.x), kept(row, i.y, x.y), kept(row, i.z, x.z), kept(row, i.w, x.w));
    s = add4(s, x, here & (whole + vec4u(0u, 1u, 2u, 3u) <= vec4u(last)));
  }
  let lane_top = max(max(s.top.x, s.top.y), max(s.top.z, s.top.w));
  let top = join_max(vec2f(lane_top)).x;
  let shift = s.top - top;
  let shrink = exp(shift);
  let sum = s.sum * shrink;
  let dot = fma(s.sum, shift, s.dot) * shrink;
  let total = join_sum(vec2f((sum.x + sum.y) + (sum.z + sum.w), (dot.x + dot.y) + (dot.z + dot.w)));
  let log_sum = log(total.x);
  return RowStats(top, log_sum, log_sum - total.y / total.x);
}

fn log_prob_of(x: f32, stats: RowStats) -> f32 {
  return fma(x, inv_t, -stats.top) - stats.log_sum;
}
