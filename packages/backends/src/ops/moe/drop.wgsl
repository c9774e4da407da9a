// Marks the copies above an expert's capacity as dropped (expert n). POLICY 0: the first by position are kept; 1: those
// of the highest weight, ties by position. Copies are sorted by expert already.
@group(0) @binding(0) var<storage, read> experts: array<u32>;
@group(0) @binding(1) var<storage, read> probs: array<f32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read> row_of: array<u32>;
// The copy of a sorted row.
@group(0) @binding(4) var<storage, read> copy_of: array<u32>;
@group(0) @binding(5) var<storage, read_write> kept: array<u32>;

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let c = linear_index(id, groups, WG);
  if (c >= params.copies) { return; }
  let e = experts[c];
  let row = row_of[c];
  var rank = row - offsets[e];
  if (POLICY == 1u) {
    rank = 0u;
    let p = probs[c];
    for (var other = offsets[e]; other < offsets[e + 1u]; other++) {
      let q = probs[copy_of[other]];
      if (q > p || (q == p && other < row)) { rank++; }
    }
  }
  kept[c] = select(params.n, e, rank < params.capacity);
}
