// The router: a token a thread. Chosen experts are found one after the other in the order (key descending, number
// ascending), so nothing is sorted and no array is indexed. SCORES: 0 softmax over the chosen, 1 sigmoid of each,
// 2 softmax over all experts.
@group(0) @binding(0) var<storage, read> logits: array<f32>;
// forward: added to logits for the choice. backward: dProbs.
@group(0) @binding(1) var<storage, read> choice_bias: array<f32>;
@group(0) @binding(1) var<storage, read> d_probs: array<f32>;
@group(0) @binding(2) var<storage, read_write> experts: array<u32>;
@group(0) @binding(2) var<storage, read> chosen: array<u32>;
@group(0) @binding(3) var<storage, read_write> probs: array<f32>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read_write> statistics: array<f32>;
@group(0) @binding(4) var<storage, read_write> d_logits: array<f32>;

// The largest logit of a row, and Σ exp(logit − largest).
fn extremes(base: u32) -> vec2f {
  var top = logits[base];
  for (var e = 1u; e < params.n; e++) { top = max(top, logits[base + e]); }
  var sum = 0.0;
  for (var e = 0u; e < params.n; e++) { sum += exp(logits[base + e] - top); }
  return vec2f(top, sum);
}

fn key_of(base: u32, e: u32) -> f32 {
  var key = logits[base + e];
  if (params.has_bias != 0u) { key += choice_bias[e]; }
  return key;
}

fn sigmoid(v: f32) -> f32 { return 1.0 / (1.0 + exp(min(-v, 85.0))); }

@compute @workgroup_size(WG)
fn route(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let t = linear_index(id, groups, WG);
  if (t >= params.rows) { return; }
  let base = t * params.n;
  let all = extremes(base);
  var last_key = 0.0;
  var last = params.n;
  var top = 0.0;
  var sum = 0.0;
  for (var j = 0u; j < params.top_k; j++) {
    var best = params.n;
    var best_key = 0.0;
    for (var e = 0u; e < params.n; e++) {
      let key = key_of(base, e);
      let after = last == params.n || key < last_key || (key == last_key && e > last);
      if (after && (best == params.n || key > best_key)) {
        best = e;
        best_key = key;
      }
    }
    // Of a row of NaN nothing is greater: any experts do, the loss will not be finite.
    if (best == params.n) { best = j; }
    last = best;
    last_key = best_key;
    let x = logits[base + best];
    experts[t * params.top_k + j] = best;
    if (SCORES == 0u) {
      // Without a bias the first is the largest.
      if (j == 0u) { top = select(x, all.x, params.has_bias != 0u); }
      let p = exp(x - top);
      sum += p;
      probs[t * params.top_k + j] = p;
    } else if (SCORES == 1u) {
      probs[t * params.top_k + j] = sigmoid(x);
    } else {
      probs[t * params.top_k + j] = exp(x - all.x) / all.y;
    }
  }
  if (SCORES == 0u) {
    for (var j = 0u; j < params.top_k; j++) {
      probs[t * params.top_k + j] = probs[t * params.top_k + j] / sum;
    }
  }
  if (params.has_statistics != 0u) {
    let out = t * (params.n + 1u);
    for (var e = 0u; e < params.n; e++) { statistics[out + e] = exp(logits[base + e] - all.x) / all.y; }
    let lse = all.x + log(all.y);
    statistics[out + params.n] = lse * lse;
  }
}

@compute @workgroup_size(WG)
fn route_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let t = linear_index(id, groups, WG);
  if (t >= params.rows) { return; }
  let base = t * params.n;
  let first = t * params.top_k;
  let all = extremes(base);
  let lse = all.x + log(all.y);
  // Softmax over all: dl = q·(g − Σ q·g), where g is what the losses (and the scores, SCORES 2) give for q.
  var mean = 0.0;
  for (var e = 0u; e < params.n; e++) {
    mean += exp(logits[base + e] - all.x) / all.y * params.aux_scale * f32(counts[e]);
  }
  // Softmax over the chosen, normalised by their own sum.
  var top = logits[base + chosen[first]];
  for (var j = 1u; j < params.top_k; j++) { top = max(top, logits[base + chosen[first + j]]); }
  var sum = 0.0;
  var dot = 0.0;
  for (var j = 0u; j < params.top_k; j++) {
    let x = logits[base + chosen[first + j]];
    let d = d_probs[first + j];
    if (SCORES == 0u) {
      let p = exp(x - top);
      sum += p;
      dot += p * d;
    } else if (SCORES == 2u) {
      mean += exp(x - all.x) / all.y * d;
    }
  }
  dot /= max(sum, 1e-30);
  for (var e = 0u; e < params.n; e++) {
    let x = logits[base + e];
    let q = exp(x - all.x) / all.y;
    var g = params.aux_scale * f32(counts[e]);
    var own = 0.0;
    for (var j = 0u; j < params.top_k; j++) {
      if (chosen[first + j] != e) { continue; }
      let d = d_probs[first + j];
      if (SCORES == 0u) {
        own = exp(x - top) / sum * (d - dot);
      } else if (SCORES == 1u) {
        let s = sigmoid(x);
        own = s * (1.0 - s) * d;
      } else {
        g += d;
      }
    }
    d_logits[base + e] = own + q * (g - mean) + params.z_scale * 2.0 * lse * q;
  }
}
