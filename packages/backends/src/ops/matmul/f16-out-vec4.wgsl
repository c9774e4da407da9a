// out, n a multiple of 4, of tiles that need no bounds and no bias; `addend`: where sums start, if not in out.
@group(0) @binding(0) var<storage, read_write> dst: array<vec4f>;
@group(0) @binding(3) var<storage, read> addend: array<vec4f>;
// Elements before the matrix (partial products lie one after the other).
var<private> out_base: u32;
