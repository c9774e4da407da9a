// Backward of attention-f16.wgsl, from q, k, v and lse. `dq`: a workgroup takes 64 rows of queries times the G heads of a kv
// head and walks tiles of BK keys. `dkv`: it takes 64 keys and walks tiles of BK queries of every q head. The rows' two operands
// stay in matrices; the tile's are x (keys; queries) and y (values; dOut). dOut is scaled by a power of two that brings its
// largest magnitude to 2^3 … 2^4, where the gradients of scores fit into f16. D is 64 or 128. Offsets and strides count vec4s.
@group(0) @binding(0) var<storage, read> q: array<vec4f>;
@group(0) @binding(1) var<storage, read> k: array<vec4f>;
@group(0) @binding(2) var<storage, read> v: array<vec4f>;
@group(0) @binding(3) var<storage, read> kv_range: array<u32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;
@group(0) @binding(5) var<storage, read> d_out: array<vec4f>;
@group(0) @binding(6) var<storage, read> largest: array<u32>;

// `rows` of each kernel: a row operand on its way into matrices; later the gradients of a tile's scores.
var<workgroup> tile_x: array<vec4<f16>, BK * LD>;
var<workgroup> tile_y: array<vec4<f16>, BK * LD>;
var<workgroup> scores: array<vec4f, 64u * S_LD>;
var<workgroup> first: atomic<u32>;
var<workgroup> last: atomic<u32>;
var<workgroup> shared_walk: vec2u;

fn turned_y(k: u32, j: u32) -> Right { return subgroupMatrixLoad<Right, col_major>(&tile_y, 16u * j * LD + 4u * k, LD); }

fn gradient_up() -> f32 { return scale_up(largest[0]) / 2048.0; }
fn gradient_down() -> f32 { return scale_down(largest[0]) * 2048.0; }

fn walk_of(t: u32, range: vec2u) -> vec2u {
  if (t == 0u) {
    atomicStore(&first, 0xffffffffu);
    atomicStore(&last, 0u);
  }
  workgroupBarrier();
  if (range.x < range.y) {
    atomicMin(&first, range.x);
    atomicMax(&last, range.y);
  }
  workgroupBarrier();
  if (t == 0u) { shared_walk = vec2u(atomicLoad(&first), atomicLoad(&last)); }
  return workgroupUniformLoad(&shared_walk);
}

fn weight4(score: vec4f, lse2: vec4f, inside: vec4<bool>) -> vec4f { return select(vec4f(), exp2(score - lse2), inside); }

// A quarter of a subgroup's 16 columns of a result in `scores`: vec4 i of 16 rows.
fn result(i: u32, r0: u32, column: u32) -> vec4f { return scores[(r0 + i / 4u) * S_LD + 4u * column + i % 4u]; }
