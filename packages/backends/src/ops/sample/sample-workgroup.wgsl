// Draws one token per row, one workgroup per row, for GPUs: the inverse of the running sum in the order of (column mod
// WG, column). Follows row-softmax-workgroup.wgsl, which computes the log-prob, and sample-common.wgsl.
struct Joined {
  count: vec4f,
  mass: vec4f,
  total: f32,
}
var<workgroup> counted: array<Joined, WG>;
var<workgroup> lane_sums: array<f32, WG>;
var<workgroup> row_state: vec2u;
var<workgroup> chosen: u32;

fn kept(row: u32, column: u32, x: f32) -> bool {
  return is_kept(column, x);
}

fn extremes(row: u32) -> vec3f {
  let at = row * params.vocab;
  var ends = vec2f(LOWEST, LOWEST);
  var count = 0.0;
  for (var j = lane; j < params.valid; j += WG) {
    let x = logits[at + j];
    if (x != LOWEST) {
      ends = max(ends, vec2f(x, -x));
      count += 1.0;
    }
  }
  let joined_ends = join_max(ends);
  let joined_count = join_sum(vec2f(count));
  return vec3f(joined_ends.x, -joined_ends.y, joined_count.x);
}

fn above(row: u32, pivots: vec4f, top: f32, by_mass: bool) -> Above {
  var sums = Joined(vec4f(), vec4f(), 0.0);
  let at = row * params.vocab;
  for (var j = lane; j < params.valid; j += WG) {
    let x = logits[at + j];
    if (x == LOWEST) { continue; }
    let inside = vec4f(x) >= pivots;
    sums.count += select(vec4f(), vec4f(1.0), inside);
    if (by_mass) {
      let w = exp(fma(x, inv_t, -top));
      sums.mass += select(vec4f(), vec4f(w), inside);
      sums.total += w;
    }
  }
  counted[lane] = sums;
  for (var n = WG / 2u; n > 0u; n /= 2u) {
    workgroupBarrier();
    if (lane < n) {
      counted[lane].count += counted[lane + n].count;
      counted[lane].mass += counted[lane + n].mass;
      counted[lane].total += counted[lane + n].total;
    }
  }
  let all = workgroupUniformLoad(&counted[0]);
  return Above(all.count, all.mass, all.total);
}

// Walks sums of 16 lanes, then of lanes, then of columns to where the running sum passes u·total. Each level falls back
// to its last positive entry, so that rounding never picks a token of probability zero.
fn pick(row: u32, top: f32, u: f32) -> u32 {
  var total = 0.0;
  for (var b = 0u; b < WG; b += 16u) {
    var sum = 0.0;
    for (var l = b; l < b + 16u; l++) { sum += lane_sums[l]; }
    total += sum;
  }
  let target_sum = u * total;
  var running = 0.0;
  var block = 0u;
  var block_start = 0.0;
  for (var b = 0u; b < WG; b += 16u) {
    var sum = 0.0;
    for (var l = b; l < b + 16u; l++) { sum += lane_sums[l]; }
    if (sum > 0.0) {
      block = b;
      block_start = running;
    }
    running += sum;
    if (running > target_sum) { break; }
  }
  running = block_start;
  var owner = block;
  var owner_start = running;
  for (var l = block; l < block + 16u; l++) {
    if (lane_sums[l] > 0.0) {
      owner = l;
      owner_start = running;
    }
    running += lane_sums[l];
    if (running > target_sum) { break; }
  }
  running = owner_start;
  var column = owner;
  for (var j = owner; j < params.valid; j += WG) {
    let x = logits[row * params.vocab + j];
    if (!is_kept(j, x)) { continue; }
    let e = exp(fma(x, inv_t, -top));
    if (e > 0.0) { column = j; }
    running += e;
    if (running > target_sum) { break; }
  }
  return column;
}

fn draw(row: u32, top: f32, u: f32) -> u32 {
  var sum = 0.0;
  for (var j = lane; j < params.valid; j += WG) {
    let x = logits[row * params.vocab + j];
    if (is_kept(j, x)) { sum += exp(fma(x, inv_t, -top)); }
  }
  lane_sums[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) { chosen = pick(row, top, u); }
  return workgroupUniformLoad(&chosen);
}

fn argmax(row: u32) -> u32 {
  var best = LOWEST;
  var column = NONE;
  for (var j = lane; j < params.valid; j += WG) {
    let x = logits[row * params.vocab + j];
    if (x > best) {
      best = x;
      column = j;
    }
  }
  let top = join_max(vec2f(best)).x;
  // Columns are exact in f32 up to 2²⁴.
  let first = join_max(vec2f(select(LOWEST, -f32(column), best == top && column != NONE)));
  return u32(-first.x);
}

@compute @workgroup_size(WG)
fn main(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) index: u32,
) {
  lane = index;
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  if (lane == 0u) { row_state = vec2u(state[5u * row], state[5u * row + 1u]); }
  let before = workgroupUniformLoad(&row_state);
  let wanted = options_of(row);
  var column = 0u;
  var log_prob = 0.0;
  if (before.y == 0u) {
    if (before.x < wanted.min_new) {
      if (lane < wanted.stops && stop_id(row, lane) < params.valid) {
        logits[row * params.vocab + stop_id(row, lane)] = LOWEST;
      }
      storageBarrier();
    }
    inv_t = wanted.inv_t;
    if (wanted.filter_tokens) { threshold = find_threshold(row, wanted.top_k, wanted.top_p); }
    let stats = row_stats(row);
    if (wanted.greedy) { column = argmax(row); }
    else { column = draw(row, stats.top, uniform_of(wanted.seed, before.x)); }
    log_prob = log_prob_of(logits[row * params.vocab + column], stats);
  }
  if (lane == 0u) { put(row, wanted, column, log_prob); }
  for (var w = lane; w < params.mask_words; w += WG) { put_mask(row, w); }
}
