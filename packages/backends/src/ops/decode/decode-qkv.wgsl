// The end of the projection to q, k and v: 1/σ, bias, rotation, and keys and values to their pages. A pair is columns d and
// d + D / 2 of a head. state is the decode state of Ops.sample with lines of the page table: position 2, line 3, keys 4.
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> cos_sin: array<f32>;
@group(0) @binding(5) var<storage, read> state: array<u32>;
@group(0) @binding(6) var<storage, read> page_table: array<u32>;
@group(0) @binding(7) var<storage, read_write> q: array<f32>;
@group(0) @binding(8) var<storage, read_write> k_pool: array<f32>;
@group(0) @binding(9) var<storage, read_write> v_pool: array<f32>;

fn page_row(row: u32) -> u32 {
  let key = state[row * 5u + 4u] - 1u;
  let page = page_table[state[row * 5u + 3u] * params.table_stride + (key >> params.page_bits)];
  return (page << params.page_bits) + (key & ((1u << params.page_bits) - 1u));
}

fn finish(row: u32, inverse: f32, head: u32, d: u32, sums: vec2f) -> f32 {
  let half = D / 2u;
  var x = sums * inverse;
  if (params.has_bias != 0u) { x += vec2f(bias[head * D + d], bias[head * D + d + half]); }
  if (head < params.heads + params.kv_heads) {
    let at = state[row * 5u + 2u] * D + d;
    let c = cos_sin[at];
    let s = cos_sin[at + half];
    x = vec2f(fma(x.x, c, -x.y * s), fma(x.y, c, x.x * s));
  }
  if (head < params.heads) {
    let at = (row * params.heads + head) * D + d;
    q[at] = x.x;
    q[at + half] = x.y;
    return 0.0;
  }
  let kept = page_row(row);
  if (kept >= params.limit) { return 0.0; }
  if (head < params.heads + params.kv_heads) {
    let at = (kept * params.kv_heads + head - params.heads) * D + d;
    k_pool[at] = x.x;
    k_pool[at + half] = x.y;
  } else {
    let at = (kept * params.kv_heads + head - params.heads - params.kv_heads) * D + d;
    v_pool[at] = x.x;
    v_pool[at + half] = x.y;
  }
  return 0.0;
}

fn keep_squares(row: u32, part: u32, sum: f32) {}
