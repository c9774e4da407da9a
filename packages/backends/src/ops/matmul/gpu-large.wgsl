// gpu.wgsl's product with tiles of 128×128 and 16 k for 256 threads of 8×8 sums. Threads 0–127 bring a, the others b, a
// step ahead, in four registers each. A quad of
// neighbours (rows of a, columns of b) of k lies at its number xor 2·(k / 4): a transposed store would else meet its
// neighbours in the same banks. A subgroup of 32 makes 4×8 threads' sums. Sums are chains over ascending k, as everywhere.
// WRITTEN_OUT: 16 k without a loop, a tenth faster on an H100; software adapters compile that for minutes.
var<workgroup> quads: array<vec4f, 1024>;
var<private> p0: vec4f;
var<private> p1: vec4f;
var<private> p2: vec4f;
var<private> p3: vec4f;

// Four neighbours along k of row i (rows beyond the matrix: the last one), or zeros.
fn a_along(i: u32, k: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  return load_a(min(i, params.m - 1u) * params.k + k, params.k - k);
}

fn b_along(j: u32, k: u32, end: u32) -> vec4f {
  if (k >= end) { return vec4f(); }
  return load_b(min(j, params.n - 1u) * params.k + k, params.k - k);
}

// Four neighbouring rows i at k, where a is stored that way.
fn a_across(i: u32, k: u32, end: u32) -> vec4f {
  let at = min(i, (params.m - 1u) & ~3u);
  if (k >= end) { return vec4f(); }
  return load_a(k * params.m + at, params.m - at);
}

fn b_across(j: u32, k: u32, end: u32) -> vec4f {
  let at = min(j, (params.n - 1u) & ~3u);
  if (k >= end) { return vec4f(); }
  return load_b(k * params.n + at, params.n - at);
}

// u: thread of its half.
fn fetch(is_a: bool, i0: u32, j0: u32, k0: u32, end: u32, u: u32) {
  if (is_a) {
    if (TRANS_A == 1u) {
      let i = i0 + u % 32u * 4u;
      let k = k0 + u / 32u;
      p0 = a_across(i, k, end);
      p1 = a_across(i, k + 4u, end);
      p2 = a_across(i, k + 8u, end);
      p3 = a_across(i, k + 12u, end);
    } else {
      let i = i0 + u / 4u * 4u;
      let k = k0 + u % 4u * 4u;
      p0 = a_along(i, k, end);
      p1 = a_along(i + 1u, k, end);
      p2 = a_along(i + 2u, k, end);
      p3 = a_along(i + 3u, k, end);
    }
  } else {
    if (TRANS_B == 0u) {
      let j = j0 + u % 32u * 4u;
      let k = k0 + u / 32u;
      p0 = b_across(j, k, end);
      p1 = b_across(j, k + 4u, end);
      p2 = b_across(j, k + 8u, end);
      p3 = b_across(j, k + 12u, end);
    } else {
      let j = j0 + u / 4u * 4u;
      let k = k0 + u % 4u * 4u;
      p0 = b_along(j, k, end);
      p1 = b_along(j + 1u, k, end);
      p2 = b_along(j + 2u, k, end);
      p3 = b_along(j + 3u, k, end);
    }
  }
}

// `at`: the operand's first quad.
fn keep(across: bool, at: u32, u: u32) {
  if (across) {
    let q = at + u / 32u * 32u;
    let i = u % 32u;
    quads[q + i] = p0;
    quads[q + 128u + (i ^ 2u)] = p1;
    quads[q + 256u + (i ^ 4u)] = p2;
    quads[q + 384u + (i ^ 6u)] = p3;
  } else {
    let q = at + u % 4u * 128u + ((u / 4u) ^ (2u * (u % 4u)));
    quads[q] = vec4f(p0.x, p1.x, p2.x, p3.x);
    quads[q + 32u] = vec4f(p0.y, p1.y, p2.y, p3.y);
    quads[q + 64u] = vec4f(p0.z, p1.z, p2.z, p3.z);
    quads[q + 96u] = vec4f(p0.w, p1.w, p2.w, p3.w);
  }
}

fn bring(is_a: bool, u: u32) {
  if (is_a) { keep(TRANS_A == 1u, 0u, u); } else { keep(TRANS_B == 0u, 512u, u); }
}

// Four k: the q-th of a step.
fn four(q: u32, ty: u32, tx: u32) {
  let a = q * 128u + ((2u * ty) ^ (2u * q));
  let b = 512u + q * 128u + (tx ^ (2u * q));
  step(quads[a], quads[a + 1u], quads[b], quads[b + 16u], vec4f(), vec4f());
  step(quads[a + 32u], quads[a + 33u], quads[b + 32u], quads[b + 48u], vec4f(), vec4f());
  step(quads[a + 64u], quads[a + 65u], quads[b + 64u], quads[b + 80u], vec4f(), vec4f());
  step(quads[a + 96u], quads[a + 97u], quads[b + 96u], quads[b + 112u], vec4f(), vec4f());
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let i0 = group.y * 128u;
  let j0 = group.x * 128u;
  let end = min(params.k, (group.z + 1u) * params.chunk);
  let tx = t / 32u % 2u * 8u + t % 8u;
  let ty = t / 64u * 4u + t / 8u % 4u;
  let is_a = t < 128u;
  let u = t % 128u;
  let begin = group.z * params.chunk;
  fetch(is_a, i0, j0, begin, end, u);
  for (var k0 = begin; k0 < end; k0 += 16u) {
    workgroupBarrier();
    bring(is_a, u);
    workgroupBarrier();
    // After the last step these are zeros that nobody reads.
    fetch(is_a, i0, j0, k0 + 16u, end, u);
    if (WRITTEN_OUT == 1u) {
      four(0u, ty, tx);
      four(1u, ty, tx);
      four(2u, ty, tx);
      four(3u, ty, tx);
    } else {
      for (var q = 0u; q < 4u; q++) { four(q, ty, tx); }
    }
  }
  out_base = group.z * params.m * params.n;
  store_tile(i0 + ty * 8u, j0 + tx * 4u);
}
