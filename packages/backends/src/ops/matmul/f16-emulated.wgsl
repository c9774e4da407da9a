// What f16-matrices.wgsl does, without subgroups: a test of all the rest on adapters that have f16 but no matrices.
// A factor is where its tile starts; of the sums a lane holds half a row.
struct Left { i: u32, k: u32 }
struct Right { k: u32, j: u32 }
struct Sum { low: vec4f, high: vec4f }
var<private> my_lane: u32;

fn left(i: u32, k: u32) -> Left { return Left(i, k); }
fn right(k: u32, j: u32) -> Right { return Right(k, j); }

fn a_value(i: u32, k: u32) -> f32 {
  if (A_INNER == 1u) { return f32(tile_a[(k / 16u * BM + i) * LD + k % 16u / 4u][k % 4u]); }
  return f32(tile_a[(i / 16u * BK + k) * LD + i % 16u / 4u][i % 4u]);
}
fn b_value(k: u32, j: u32) -> f32 {
  if (B_INNER == 1u) { return f32(tile_b[(k / 16u * BN + j) * LD + k % 16u / 4u][k % 4u]); }
  return f32(tile_b[(j / 16u * BK + k) * LD + j % 16u / 4u][j % 4u]);
}

fn multiply(l: Left, r: Right, c: Sum) -> Sum {
  var sum = c;
  let j = r.j + my_lane % 2u * 8u;
  for (var k = 0u; k < 16u; k++) {
    let x = a_value(l.i + my_lane / 2u, l.k + k);
    sum.low += x * vec4f(b_value(r.k + k, j), b_value(r.k + k, j + 1u), b_value(r.k + k, j + 2u), b_value(r.k + k, j + 3u));
    sum.high += x * vec4f(b_value(r.k + k, j + 4u), b_value(r.k + k, j + 5u), b_value(r.k + k, j + 6u), b_value(r.k + k, j + 7u));
  }
  return sum;
}

fn times(sum: Sum, factor: f32) -> Sum { return Sum(sum.low * factor, sum.high * factor); }
