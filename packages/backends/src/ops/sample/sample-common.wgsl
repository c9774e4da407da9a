// What both forms of sampling share; put between row-softmax and sample.wgsl or sample-workgroup.wgsl, which bring
// `extremes(row)` and `above(row, pivots, top, by_mass)`.
// Tokens that min_new_tokens forbids get the lowest logit, in place. Kept tokens are those whose logit is at least a threshold, the largest at which top-k or top-p is satisfied. Random
// numbers are Philox2x32-10(seed, step) (Salmon et al. 2011).
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;
// Seeds, or 16 words a row: see SampleRowsArgs.
@group(0) @binding(1) var<storage, read> options: array<u32>;
@group(0) @binding(2) var<storage, read_write> state: array<u32>;
@group(0) @binding(3) var<storage, read_write> tokens: array<i32>;
@group(0) @binding(4) var<storage, read_write> token_log: array<i32>;
@group(0) @binding(5) var<storage, read_write> log_prob_log: array<f32>;
@group(0) @binding(6) var<storage, read_write> mask_log: array<u32>;

const NONE = 0xffffffffu;
// Above LOWEST, below every logit of a model.
const FAINTEST = -3.4e38;
// The smallest kept logit.
var<private> threshold: f32 = FAINTEST;

fn is_kept(column: u32, x: f32) -> bool {
  return x >= threshold;
}

// What a row is asked for.
struct Options {
  seed: u32,
  inv_t: f32,
  top_p: f32,
  top_k: f32,
  greedy: bool,
  filter_tokens: bool,
  min_new: u32,
  max_new: u32,
  stops: u32,
}

fn options_of(row: u32) -> Options {
  if (params.per_row == 0u) {
    return Options(
      options[row], params.inv_t, params.top_p, params.top_k, (params.flags & 1u) != 0u, (params.flags & 2u) != 0u,
      params.min_new, 0u, select(0u, 1u, params.eos >= 0));
  }
  let at = 16u * row;
  let flags = options[at + 4u];
  return Options(
    options[at], bitcast<f32>(options[at + 1u]), bitcast<f32>(options[at + 2u]), bitcast<f32>(options[at + 3u]),
    (flags & 1u) != 0u, (flags & 2u) != 0u, options[at + 5u], options[at + 6u], options[at + 7u]);
}

fn stop_id(row: u32, i: u32) -> u32 {
  if (params.per_row == 0u) { return bitcast<u32>(params.eos); }
  return options[16u * row + 8u + i];
}

// An integer that orders as the float does (−0 = +0).
fn key_of(x: f32) -> u32 {
  let bits = bitcast<u32>(select(x, 0.0, x == 0.0));
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}

fn float_of(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, key >= 0x80000000u));
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

// One end of the search: the key of a logit, and what is at or above it.
struct Bound {
  key: u32,
  count: f32,
  mass: f32,
}

// Where between two bounds the condition should turn, if logits were spread evenly there.
fn guess(low: Bound, high: Bound, need_count: f32, need_mass: f32) -> f32 {
  let by_count = (low.count - need_count) / (low.count - high.count);
  let by_mass = (low.mass - need_mass) / max(low.mass - high.mass, 1e-30);
  return clamp(max(by_count, by_mass), 0.06, 0.94);
}

// The largest logit x with count(logits ≥ x) ≥ top_k or mass(logits ≥ x) ≥ top_p·total; the smallest if there is none.
// Each pass counts at four pivots: around the interpolated place and halfway to both ends. It stops when one logit is
// left between the bounds. After 16 passes the keys are cut in five, so that it ends whatever the logits.
fn find_threshold(row: u32, top_k: f32, top_p: f32) -> f32 {
  let ends = extremes(row);
  let top = ends.x;
  var low = Bound(key_of(ends.y), ends.z, 0.0);
  var high = Bound(key_of(top) + 1u, 0.0, 0.0);
  var need_mass = -LOWEST;
  for (var trial = 0u; low.count > high.count + 1.0 && high.key > low.key + 1u; trial++) {
    let a = float_of(low.key);
    let span = float_of(high.key - 1u) - a;
    var places = vec4f(0.2, 0.4, 0.6, 0.8);
    if (trial > 0u) {
      let f = guess(low, high, top_k, need_mass);
      places = vec4f(0.5 * f - 0.025, f - 0.05, f + 0.05, 0.5 * f + 0.525);
    }
    let values = a + span * places;
    var keys = vec4u(key_of(values.x), key_of(values.y), key_of(values.z), key_of(values.w));
    if (trial >= 16u) { keys = low.key + ((high.key - low.key) / 5u) * vec4u(1u, 2u, 3u, 4u); }
    keys = clamp(keys, vec4u(low.key + 1u), vec4u(high.key - 1u));
    let pivots = vec4f(float_of(keys.x), float_of(keys.y), float_of(keys.z), float_of(keys.w));
    let found = above(row, pivots, top * inv_t, top_p < 1.0);
    if (trial == 0u && top_p < 1.0) {
      need_mass = top_p * found.total;
      low.mass = found.total;
    }
    for (var i = 0u; i < 4u; i++) {
      let bound = Bound(keys[i], found.count[i], found.mass[i]);
      if (bound.count >= top_k || bound.mass >= need_mass) {
        if (bound.key > low.key) { low = bound; }
      } else if (bound.key < high.key) {
        high = bound;
      }
    }
  }
  return float_of(low.key);
}

// Writes the row's token and advances its state if it has not finished.
fn put(row: u32, wanted: Options, column: u32, log_prob: f32) {
  let finished = state[5u * row + 1u] != 0u;
  let token = select(i32(column), params.pad, finished);
  if (!finished) {
    state[5u * row] += 1u;
    var ends = state[5u * row] == wanted.max_new;
    for (var i = 0u; i < wanted.stops; i++) { ends = ends || stop_id(row, i) == column; }
    state[5u * row + 1u] = select(0u, 1u, ends);
    state[5u * row + 2u] += 1u;
    state[5u * row + 4u] += 1u;
  }
  tokens[row] = token;
  token_log[params.log_step * params.rows + row] = token;
  log_prob_log[params.log_step * params.rows + row] = select(log_prob, 0.0, finished);
}

// Word w of the row's mask of kept tokens.
fn put_mask(row: u32, w: u32) {
  var bits = 0u;
  for (var b = 0u; b < 32u; b++) {
    let j = w * 32u + b;
    if (j < params.valid && is_kept(j, logits[row * params.vocab + j])) { bits |= 1u << b; }
  }
  mask_log[(params.log_step * params.rows + row) * params.mask_words + w] = bits;
}
