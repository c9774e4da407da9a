// Draws one token per row, one invocation per row. Follows row-softmax.wgsl, which computes the log-prob.
// Kept tokens are those whose logit is at least a threshold, the largest at which top-k or top-p is satisfied.
// The draw is the inverse of the running sum in column order at u = Philox2x32-10(seed, step) (Salmon et al. 2011).
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> seeds: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<i32>;
@group(0) @binding(4) var<storage, read_write> token_log: array<i32>;
@group(0) @binding(5) var<storage, read_write> log_prob_log: array<f32>;
@group(0) @binding(6) var<storage, read_write> mask_log: array<u32>;

const NONE = 0xffffffffu;
// Key of the smallest kept logit, and the column that min_new_tokens forbids.
var<private> threshold: u32 = 0u;
var<private> banned: u32 = NONE;

// An integer that orders as the float does (−0 = +0).
fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(select(x, 0.0, x == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn float_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
}

fn kept4(row: u32, column: u32, x: vec4f) -> vec4<bool> {
  let keys = vec4u(key_of(x.x), key_of(x.y), key_of(x.z), key_of(x.w));
  return (keys >= vec4u(threshold)) & (column + NEXT4 != vec4u(banned));
}

fn is_kept(column: u32, x: f32) -> bool {
  return key_of(x) >= threshold && column != banned;
}

// High and low words of a·b.
fn multiply(a: u32, b: u32) -> vec2u {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
  let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
  return vec2u((a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u), a * b);
}

// Philox2x32-10 of counter (step, 0) under the row's key: 24 bits, uniform in [0, 1).
fn uniform_of(seed: u32, step: u32) -> f32 {
  var counter = vec2u(step, 0u);
  var key = seed;
  for (var i = 0u; i < 10u; i++) {
    let product = multiply(0xD256D193u, counter.x);
    counter = vec2u(product.x ^ key ^ counter.y, product.y);
    key += 0x9E3779B9u;
  }
  return f32(counter.x >> 8u) * 5.9604645e-8;
}

struct Above {
  count: vec4u,
  mass: vec4f,
}

// How many tokens have keys at or above each pivot, and their probability times Σ exp(z − top).
fn above(row: u32, pivots: vec4u, top: f32) -> Above {
  var a = Above(vec4u(), vec4f());
  let at = row * params.vocab;
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    let inside = (vec4u(key_of(x)) >= pivots) & vec4<bool>(j != banned);
    a.count += select(vec4u(), vec4u(1u), inside);
    if (params.top_p < 1.0) {
      a.mass += select(vec4f(), vec4f(exp(x * params.inv_t - top)), inside);
    }
  }
  return a;
}

// The largest key K with count(keys ≥ K) ≥ top_k or mass(keys ≥ K) ≥ top_p·total; the smallest key if there is none.
// Five-way search, in value space at first, stopped when one token is left between the bounds.
fn find_threshold(row: u32) -> u32 {
  let at = row * params.vocab;
  var top = LOWEST;
  var bottom = -LOWEST;
  for (var j = 0u; j < params.valid; j++) {
    if (j != banned) {
      top = max(top, logits[at + j]);
      bottom = min(bottom, logits[at + j]);
    }
  }
  var low = key_of(bottom);
  var high = key_of(top) + 1u;
  let z_top = top * params.inv_t;
  let all = above(row, vec4u(), z_top);
  let need = select(-LOWEST, params.top_p * all.mass.x, params.top_p < 1.0);
  var low_count = all.count.x;
  var high_count = 0u;
  for (var trial = 0u; low_count > high_count + 1u && high > low + 1u; trial++) {
    var pivots: vec4u;
    if (trial < 12u) {
      let a = float_of(low);
      let span = float_of(high - 1u) - a;
      pivots = vec4u(key_of(a + span * 0.2), key_of(a + span * 0.4), key_of(a + span * 0.6), key_of(a + span * 0.8));
    } else {
      let span = high - low;
      pivots = low + vec4u(span / 5u, span / 5u * 2u, span / 5u * 3u, span / 5u * 4u);
    }
    pivots = clamp(pivots, vec4u(low + 1u), vec4u(high - 1u));
    let a = above(row, pivots, z_top);
    let enough = (a.count >= vec4u(params.top_k)) | (a.mass >= vec4f(need));
    for (var i = 0u; i < 4u; i++) {
      if (enough[i]) {
        if (pivots[i] > low) { low = pivots[i]; low_count = a.count[i]; }
      } else if (pivots[i] < high) {
        high = pivots[i];
        high_count = a.count[i];
      }
    }
  }
  return low;
}

fn draw(row: u32, top: f32, u: f32) -> u32 {
  let at = row * params.vocab;
  var total = 0.0;
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    if (is_kept(j, x)) { total += exp(x * params.inv_t - top); }
  }
  let target_sum = u * total;
  var running = 0.0;
  var last = 0u;
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    if (is_kept(j, x)) {
      running += exp(x * params.inv_t - top);
      last = j;
      if (running > target_sum) { break; }
    }
  }
  return last;
}

fn argmax(row: u32) -> u32 {
  let at = row * params.vocab;
  var best = LOWEST;
  var column = select(0u, 1u, banned == 0u);
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    if (j != banned && x > best) { best = x; column = j; }
  }
  return column;
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = linear_index(id, groups, WG);
  if (row >= params.rows) { return; }
  let step = state[5u * row];
  var token = params.pad;
  var log_prob = 0.0;
  if (state[5u * row + 1u] == 0u) {
    if (step < params.min_new) { banned = bitcast<u32>(params.eos); }
    if (params.filter_tokens != 0u) { threshold = find_threshold(row); }
    let stats = row_stats(row);
    var column: u32;
    if (params.greedy != 0u) { column = argmax(row); }
    else { column = draw(row, stats.top, uniform_of(seeds[row], step)); }
    log_prob = log_prob_of(logits[row * params.vocab + column], stats);
    token = i32(column);
    state[5u * row] = step + 1u;
    state[5u * row + 1u] = select(0u, 1u, token == params.eos);
    state[5u * row + 2u] += 1u;
    state[5u * row + 4u] += 1u;
  }
  tokens[row] = token;
  token_log[params.log_step * params.rows + row] = token;
  log_prob_log[params.log_step * params.rows + row] = log_prob;
  if (params.mask_words == 0u) { return; }
  for (var w = 0u; w < params.mask_words; w++) {
    var bits = 0u;
    for (var b = 0u; b < 32u; b++) {
      let j = w * 32u + b;
      if (j < params.valid && is_kept(j, logits[row * params.vocab + j])) { bits |= 1u << b; }
    }
    mask_log[(params.log_step * params.rows + row) * params.mask_words + w] = bits;
  }
}
