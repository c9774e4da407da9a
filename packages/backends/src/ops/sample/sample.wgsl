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

const ONE4 = vec4f(1.0);
const NONE = 0xffffffffu;
// The smallest kept logit, and the column that min_new_tokens forbids.
var<private> threshold: f32 = LOWEST;
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
  return (x >= vec4f(threshold)) & (column + NEXT4 != vec4u(banned));
}

fn is_kept(column: u32, x: f32) -> bool {
  return x >= threshold && column != banned;
}

// Four logits from a column on; the lowest number for a forbidden column and beyond the last.
fn allowed4(row: u32, column: u32) -> vec4f {
  let at = row * params.vocab + column;
  if (column + 4u > params.valid) {
    let rest = column + NEXT4;
    return select(vec4f(LOWEST), load_rest(at - column, column), (rest < vec4u(params.valid)) & (rest != vec4u(banned)));
  }
  return select(vec4f(LOWEST), load4(at), column + NEXT4 != vec4u(banned));
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

// How many logits are at or above each pivot, the Σ exp(z − top) of those, and of all.
struct Above {
  count: vec4f,
  mass: vec4f,
  total: f32,
}

fn above(row: u32, pivots: vec4f, top: f32) -> Above {
  // Variables of their own: a struct's members go through memory on SwiftShader.
  var count = vec4f();
  var mass = vec4f();
  var total = 0.0;
  let by_mass = params.top_p < 1.0;
  for (var j = 0u; j < params.valid; j += 4u) {
    let x = allowed4(row, j);
    let in0 = vec4f(x.x) >= pivots;
    let in1 = vec4f(x.y) >= pivots;
    let in2 = vec4f(x.z) >= pivots;
    let in3 = vec4f(x.w) >= pivots;
    count += (select(vec4f(), ONE4, in0) + select(vec4f(), ONE4, in1)) + (select(vec4f(), ONE4, in2) + select(vec4f(), ONE4, in3));
    if (by_mass) {
      let w = exp(x * params.inv_t - top);
      mass = mass + select(vec4f(), vec4f(w.x), in0) + select(vec4f(), vec4f(w.y), in1) + select(vec4f(), vec4f(w.z), in2) + select(vec4f(), vec4f(w.w), in3);
      total = total + w.x + w.y + w.z + w.w;
    }
  }
  return Above(count, mass, total);
}

// One end of the search: the key of a logit, and what is at or above it.
struct Bound {
  key: u32,
  count: f32,
  mass: f32,
}

// Where between two bounds the condition should turn, if logits were spread evenly there.
fn guess(low: Bound, high: Bound, need_mass: f32) -> f32 {
  let by_count = (low.count - params.top_k) / (low.count - high.count);
  let by_mass = (low.mass - need_mass) / max(low.mass - high.mass, 1e-30);
  return clamp(max(by_count, by_mass), 0.06, 0.94);
}

// The largest logit x with count(logits ≥ x) ≥ top_k or mass(logits ≥ x) ≥ top_p·total; the smallest if there is none.
// Each pass counts at four pivots: around the interpolated place and halfway to both ends. It stops when one logit is
// left between the bounds. After 16 passes the keys are cut in five, so that it ends whatever the logits.
fn find_threshold(row: u32) -> f32 {
  var top4 = vec4f(LOWEST);
  var bottom4 = vec4f(-LOWEST);
  for (var j = 0u; j < params.valid; j += 4u) {
    let x = allowed4(row, j);
    top4 = max(top4, x);
    bottom4 = min(bottom4, select(x, vec4f(-LOWEST), x == vec4f(LOWEST)));
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  let bottom = min(min(min(bottom4.x, bottom4.y), min(bottom4.z, bottom4.w)), top);
  let count = f32(params.valid) - select(0.0, 1.0, banned < params.valid);
  var low = Bound(key_of(bottom), count, 0.0);
  var high = Bound(key_of(top) + 1u, 0.0, 0.0);
  var need_mass = -LOWEST;
  for (var trial = 0u; low.count > high.count + 1.0 && high.key > low.key + 1u; trial++) {
    let a = float_of(low.key);
    let span = float_of(high.key - 1u) - a;
    var places = vec4f(0.2, 0.4, 0.6, 0.8);
    if (trial > 0u) {
      let f = guess(low, high, need_mass);
      places = vec4f(0.5 * f - 0.025, f - 0.05, f + 0.05, 0.5 * f + 0.525);
    }
    let values = a + span * places;
    var keys = vec4u(key_of(values.x), key_of(values.y), key_of(values.z), key_of(values.w));
    if (trial >= 16u) { keys = low.key + ((high.key - low.key) / 5u) * vec4u(1u, 2u, 3u, 4u); }
    keys = clamp(keys, vec4u(low.key + 1u), vec4u(high.key - 1u));
    let pivots = vec4f(float_of(keys.x), float_of(keys.y), float_of(keys.z), float_of(keys.w));
    let found = above(row, pivots, top * params.inv_t);
    if (trial == 0u && params.top_p < 1.0) {
      need_mass = params.top_p * found.total;
      low.mass = found.total;
    }
    for (var i = 0u; i < 4u; i++) {
      let bound = Bound(keys[i], found.count[i], found.mass[i]);
      if (bound.count >= params.top_k || bound.mass >= need_mass) {
        if (bound.key > low.key) { low = bound; }
      } else if (bound.key < high.key) {
        high = bound;
      }
    }
  }
  return float_of(low.key);
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
    if (x > best && j != banned) {
      best = x;
      column = j;
    }
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
