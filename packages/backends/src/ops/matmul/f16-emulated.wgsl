// What f16-matrices.wgsl does, without subgroups: a test of all the rest on adapters that have f16 but no matrices.
// A factor is where its tile starts; of the sums a lane holds half a row.
struct Left { i: u32, k: u32 }
struct Right { k: u32, j: u32 }
struct Sum { low: vec4f, high: vec4f }
var<private> my_lane: u32;

fn left(i: u32, k: u32) -> Left { return Left(i, k); }
fn right(k: u32, j: u32) -> Right { return Right(k, j); }

fn a_at(i: u32, k: u32) -> f32 { return f32(tile_a[k * A_LD + i / 4u][i % 4u]); }
fn b_at(k: u32, j: u32) -> f32 { return f32(tile_b[k * B_LD + j / 4u][j % 4u]); }

fn multiply(a: Left, b: Right, c: Sum) -> Sum {
  var sum = c;
  let j = b.j + my_lane % 2u * 8u;
  for (var k = 0u; k < 16u; k++) {
    let x = a_at(a.i + my_lane / 2u, a.k + k);
    sum.low += x * vec4f(b_at(b.k + k, j), b_at(b.k + k, j + 1u), b_at(b.k + k, j + 2u), b_at(b.k + k, j + 3u));
    sum.high += x * vec4f(b_at(b.k + k, j + 4u), b_at(b.k + k, j + 5u), b_at(b.k + k, j + 6u), b_at(b.k + k, j + 7u));
  }
  return sum;
}

fn spill(sum: Sum, base: u32) {
  let at = base + my_lane / 2u * PATCH_LD + my_lane % 2u * 8u;
  for (var i = 0u; i < 4u; i++) {
    patches[at + i] = sum.low[i];
    patches[at + 4u + i] = sum.high[i];
  }
}

fn store_sum(sum: Sum, i: u32, j: u32, lane: u32, down: f32) {
  store(i + lane / 2u, j + lane % 2u * 8u, sum.low * down);
  store(i + lane / 2u, j + lane % 2u * 8u + 4u, sum.high * down);
}

@compute @workgroup_size(T)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  my_lane = t % 32u;
  tile(group, t, t / 32u, my_lane);
}
