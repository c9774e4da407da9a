// What both forms of the grouped product share; put between tile.wgsl with its addressing and grouped-tile.wgsl or
// grouped-gpu.wgsl. KIND: 0 a·B_eᵀ (forward), 1 a·B_e (input gradient), 2 aᵀ·b per expert (weight gradient, accumulates).
@group(0) @binding(3) var<storage, read> offsets: array<u32>;

// The expert that a tile is of, and its rows of a.
struct Span {
  expert: u32,
  begin: u32,
  end: u32,
}

// Row tiles of `height` are numbered expert by expert: where the expert's rows end, a tile ends early. `expert` = n
// experts: there is no such tile.
fn span_of(index: u32, height: u32) -> Span {
  var left = index;
  var e = 0u;
  for (; e < params.experts; e++) {
    let tiles = (offsets[e + 1u] - offsets[e] + height - 1u) / height;
    if (left < tiles) { break; }
    left -= tiles;
  }
  if (e == params.experts) { return Span(e, 0u, 0u); }
  return Span(e, offsets[e] + left * height, offsets[e + 1u]);
}
