// Counting sort of copies by expert, stable and without atomics. Copies are cut into blocks of BLOCK; a thread owns an
// (expert, block) pair: `count` counts, `scan` turns the counts of an expert into sums over the blocks before, `begin`
// makes the offsets, `place` walks the block again and places. Experts are 0 … n−1; n means dropped and sorts last.
@group(0) @binding(0) var<storage, read> experts: array<u32>;
// [blocks, n + 1]; totals [n + 1], offsets [n + 1].
@group(0) @binding(1) var<storage, read_write> histogram: array<u32>;
@group(0) @binding(2) var<storage, read_write> totals: array<u32>;
@group(0) @binding(3) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(4) var<storage, read_write> row_of: array<u32>;
@group(0) @binding(5) var<storage, read_write> token_of: array<u32>;

const NONE = 0xffffffffu;

@compute @workgroup_size(WG)
fn count(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  let n = params.n + 1u;
  let block = at / n;
  if (block >= params.blocks) { return; }
  let e = at % n;
  var found = 0u;
  let end = min((block + 1u) * BLOCK, params.copies);
  for (var c = block * BLOCK; c < end; c++) {
    if (experts[c] == e) { found++; }
  }
  histogram[at] = found;
}

@compute @workgroup_size(WG)
fn scan(@builtin(global_invocation_id) id: vec3u) {
  let e = id.x;
  let n = params.n + 1u;
  if (e >= n) { return; }
  var sum = 0u;
  for (var b = 0u; b < params.blocks; b++) {
    let found = histogram[b * n + e];
    histogram[b * n + e] = sum;
    sum += found;
  }
  totals[e] = sum;
}

@compute @workgroup_size(1)
fn begin() {
  var sum = 0u;
  for (var e = 0u; e < params.n; e++) {
    offsets[e] = sum;
    sum += totals[e];
  }
  offsets[params.n] = sum;
}

@compute @workgroup_size(WG)
fn place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = linear_index(id, groups, WG);
  let n = params.n + 1u;
  let block = at / n;
  if (block >= params.blocks) { return; }
  let e = at % n;
  var row = offsets[e] + histogram[at];
  let end = min((block + 1u) * BLOCK, params.copies);
  for (var c = block * BLOCK; c < end; c++) {
    if (experts[c] != e) { continue; }
    row_of[c] = select(row, NONE, e == params.n);
    token_of[row] = c / params.per_token;
    row++;
  }
}
