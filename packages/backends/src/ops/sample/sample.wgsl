// Draws one token per row, one invocation per row: the inverse of the running sum in column order.
// Follows row-softmax.wgsl, which computes the log-prob, and sample-common.wgsl.
const ONE4 = vec4f(1.0);

fn kept4(row: u32, column: u32, x: vec4f) -> vec4<bool> {
  return x >= vec4f(threshold);
}

// Four logits from a column on; the lowest number beyond the last column.
fn allowed4(row: u32, column: u32) -> vec4f {
  let at = row * params.vocab + column;
  if (column + 4u > params.valid) {
    let rest = column + NEXT4;
    return select(vec4f(LOWEST), load_rest(at - column, column), rest < vec4u(params.valid));
  }
  return load4(at);
}

// Largest and smallest allowed logit, and how many there are.
fn extremes(row: u32) -> vec3f {
  var top4 = vec4f(LOWEST);
  var bottom4 = vec4f(-LOWEST);
  var count4 = vec4f();
  for (var j = 0u; j < params.valid; j += 4u) {
    let x = allowed4(row, j);
    let none = x == vec4f(LOWEST);
    top4 = max(top4, x);
    bottom4 = min(bottom4, select(x, vec4f(-LOWEST), none));
    count4 += select(ONE4, vec4f(), none);
  }
  let top = max(max(top4.x, top4.y), max(top4.z, top4.w));
  let bottom = min(min(min(bottom4.x, bottom4.y), min(bottom4.z, bottom4.w)), top);
  return vec3f(top, bottom, (count4.x + count4.y) + (count4.z + count4.w));
}

fn above(row: u32, pivots: vec4f, top: f32, by_mass: bool) -> Above {
  // Variables of their own: a struct's members go through memory on SwiftShader.
  var count = vec4f();
  var mass = vec4f();
  var total = 0.0;
  for (var j = 0u; j < params.valid; j += 4u) {
    let x = allowed4(row, j);
    let in0 = vec4f(x.x) >= pivots;
    let in1 = vec4f(x.y) >= pivots;
    let in2 = vec4f(x.z) >= pivots;
    let in3 = vec4f(x.w) >= pivots;
    count += (select(vec4f(), ONE4, in0) + select(vec4f(), ONE4, in1)) + (select(vec4f(), ONE4, in2) + select(vec4f(), ONE4, in3));
    if (by_mass) {
      let w = exp(x * inv_t - top);
      mass = mass + select(vec4f(), vec4f(w.x), in0) + select(vec4f(), vec4f(w.y), in1) + select(vec4f(), vec4f(w.z), in2) + select(vec4f(), vec4f(w.w), in3);
      total = total + w.x + w.y + w.z + w.w;
    }
  }
  return Above(count, mass, total);
}

fn draw(row: u32, top: f32, u: f32) -> u32 {
  let at = row * params.vocab;
  var total = 0.0;
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    if (is_kept(j, x)) { total += exp(x * inv_t - top); }
  }
  let target_sum = u * total;
  var running = 0.0;
  var last = 0u;
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    if (is_kept(j, x)) {
      running += exp(x * inv_t - top);
      last = j;
      if (running > target_sum) { break; }
    }
  }
  return last;
}

fn argmax(row: u32) -> u32 {
  let at = row * params.vocab;
  var best = LOWEST;
  var column = 0u;
  for (var j = 0u; j < params.valid; j++) {
    let x = logits[at + j];
    if (x > best) {
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
  let wanted = options_of(row);
  var column = 0u;
  var log_prob = 0.0;
  if (state[5u * row + 1u] == 0u) {
    for (var i = 0u; step < wanted.min_new && i < wanted.stops; i++) {
      if (stop_id(row, i) < params.valid) { logits[row * params.vocab + stop_id(row, i)] = LOWEST; }
    }
    inv_t = wanted.inv_t;
    if (wanted.filter_tokens) { threshold = find_threshold(row, wanted.top_k, wanted.top_p); }
    let stats = row_stats(row);
    if (wanted.greedy) { column = argmax(row); }
    else { column = draw(row, stats.top, uniform_of(wanted.seed, step)); }
    log_prob = log_prob_of(logits[row * params.vocab + column], stats);
  }
  put(row, wanted, column, log_prob);
  for (var w = 0u; w < params.mask_words; w++) { put_mask(row, w); }
}
