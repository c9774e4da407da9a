// What the f16 attention kernels share: matrices of a subgroup of 32 from and to the arrays `rows`, `tile_x`, `tile_y` and
// `scores` of each kernel. A workgroup has R rows, blocks of 16 by SN halves of D a subgroup; 2·SN lanes share a row of
// scores.
// A row of the shared tiles in vec4s: 8 elements more than needed, so that matrix rows fall on different banks.
const D4 = D / 4u;
const LD = (D + 8u) / 4u;
const S_LD = (BK + 8u) / 4u;
const T = 2u * R * SN;
// Lanes of a row of scores, vec4s of a lane; vec4s of a tile that a lane fetches; matrices of scores of a subgroup.
const LANES = 2u * SN;
const PER = BK / 4u / LANES;
const FETCH = BK * D4 / T;
const ST = BK / 16u / SN;
const LOG2E = 1.4426950408889634;
const NEXT4 = vec4u(0u, 1u, 2u, 3u);

alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sum = subgroup_matrix_result<f32, 16, 16>;

fn range_of(t: u32) -> vec2u {
  let at = t * params.range_stride + params.range_offset;
  return vec2u(kv_range[at], kv_range[at + 1u]);
}

// Of the row operand in `rows`: 16 rows, the k-th 16 columns.
fn row_left(r: u32, k: u32) -> Left { return subgroupMatrixLoad<Left, row_major>(&rows, r * LD + 4u * k, LD); }

// Of a tile [BK, D], turned: the k-th 16 of D by the j-th 16 columns.
fn turned_x(k: u32, j: u32) -> Right { return subgroupMatrixLoad<Right, col_major>(&tile_x, 16u * j * LD + 4u * k, LD); }

// Of a tile [BK, D]: the k-th 16 of BK by the j-th 16 of D.
fn straight_x(k: u32, j: u32) -> Right { return subgroupMatrixLoad<Right, row_major>(&tile_x, 16u * k * LD + 4u * j, LD); }
fn straight_y(k: u32, j: u32) -> Right { return subgroupMatrixLoad<Right, row_major>(&tile_y, 16u * k * LD + 4u * j, LD); }

// Weights that follow each other in `rows`, from vec4 `base` on: 16 rows, the k-th 16 columns.
fn weights(base: u32, r: u32, k: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(&rows, base + r * S_LD + 4u * k, S_LD);
}

fn multiply(l: Left, r: Right, c: Sum) -> Sum { return subgroupMatrixMultiplyAccumulate(l, r, c); }

// The j-th 16 columns of scores of 16 rows.
fn spill(s: Sum, r: u32, j: u32) { subgroupMatrixStore<row_major>(&scores, r * S_LD + 4u * j, s, S_LD); }
fn unspill(r: u32, j: u32) -> Sum { return subgroupMatrixLoad<Sum, row_major>(&scores, r * S_LD + 4u * j, S_LD); }

// Over the lanes of a row.
fn join_max(x: f32) -> f32 {
  var y = max(x, subgroupShuffleXor(x, 1u));
  if (SN == 2u) { y = max(y, subgroupShuffleXor(y, 2u)); }
  return y;
}
fn join_sum(x: f32) -> f32 {
  var y = x + subgroupShuffleXor(x, 1u);
  if (SN == 2u) { y += subgroupShuffleXor(y, 2u); }
  return y;
}
