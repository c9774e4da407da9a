// One register tile of 4 rows by 8 columns per invocation, no workgroup memory: for software adapters.

// One k of b stored along n: `row` is where its row starts.
fn row_step(row: u32, j0: u32, a0: vec4f) {
  let n = params.n;
  let j1 = min(j0 + 4u, (n - 1u) & ~3u);
  step(a0, vec4f(), load_b(row + j0, n - j0), load_b(row + j1, n - j1), vec4f(), vec4f());
}

// Four k of eight rows of b, transposed in registers.
fn quad_step(base: u32, j0: u32, k: u32, left: u32, r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f) {
  let last = params.n - 1u;
  let s0 = load_b((base + min(j0 + 0u, last)) * params.k + k, left);
  let s1 = load_b((base + min(j0 + 1u, last)) * params.k + k, left);
  let s2 = load_b((base + min(j0 + 2u, last)) * params.k + k, left);
  let s3 = load_b((base + min(j0 + 3u, last)) * params.k + k, left);
  let s4 = load_b((base + min(j0 + 4u, last)) * params.k + k, left);
  let s5 = load_b((base + min(j0 + 5u, last)) * params.k + k, left);
  let s6 = load_b((base + min(j0 + 6u, last)) * params.k + k, left);
  let s7 = load_b((base + min(j0 + 7u, last)) * params.k + k, left);
  let z = vec4f();
  step(vec4f(r0.x, r1.x, r2.x, r3.x), z, vec4f(s0.x, s1.x, s2.x, s3.x), vec4f(s4.x, s5.x, s6.x, s7.x), z, z);
  step(vec4f(r0.y, r1.y, r2.y, r3.y), z, vec4f(s0.y, s1.y, s2.y, s3.y), vec4f(s4.y, s5.y, s6.y, s7.y), z, z);
  step(vec4f(r0.z, r1.z, r2.z, r3.z), z, vec4f(s0.z, s1.z, s2.z, s3.z), vec4f(s4.z, s5.z, s6.z, s7.z), z, z);
  step(vec4f(r0.w, r1.w, r2.w, r3.w), z, vec4f(s0.w, s1.w, s2.w, s3.w), vec4f(s4.w, s5.w, s6.w, s7.w), z, z);
}

fn rows_of_a(span: Span, j0: u32) {
  let last = span.end - 1u;
  let a0 = min(span.begin + 0u, last) * params.k;
  let a1 = min(span.begin + 1u, last) * params.k;
  let a2 = min(span.begin + 2u, last) * params.k;
  let a3 = min(span.begin + 3u, last) * params.k;
  let width = select(params.k, params.n, KIND == 0u);
  let base = span.expert * width;
  for (var k = 0u; k < params.k; k += 4u) {
    let left = params.k - k;
    let r0 = load_a(a0 + k, left);
    let r1 = load_a(a1 + k, left);
    let r2 = load_a(a2 + k, left);
    let r3 = load_a(a3 + k, left);
    if (KIND == 0u) {
      quad_step(base, j0, k, left, r0, r1, r2, r3);
    } else {
      let end = params.k - 1u;
      row_step((base + min(k + 0u, end)) * params.n, j0, vec4f(r0.x, r1.x, r2.x, r3.x));
      row_step((base + min(k + 1u, end)) * params.n, j0, vec4f(r0.y, r1.y, r2.y, r3.y));
      row_step((base + min(k + 2u, end)) * params.n, j0, vec4f(r0.z, r1.z, r2.z, r3.z));
      row_step((base + min(k + 3u, end)) * params.n, j0, vec4f(r0.w, r1.w, r2.w, r3.w));
    }
  }
}

@compute @workgroup_size(WG)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let across = (params.n + 7u) / 8u;
  let at = linear_index(id, groups, WG);
  let j0 = at % across * 8u;
  if (KIND == 2u) {
    let down = (params.m + 3u) / 4u;
    let tile = at / across;
    let e = tile / down;
    if (e >= params.experts) { return; }
    let i0 = tile % down * 4u;
    let begin = offsets[e];
    let end = offsets[e + 1u];
    for (var k = begin; k < end; k++) {
      row_step(k * params.n, j0, load_a(k * params.m + i0, params.m - i0));
    }
    out_base = e * params.m * params.n;
    row_end = params.m;
    store_tile(i0, j0);
  } else {
    let span = span_of(at / across, 4u);
    if (span.expert == params.experts) { return; }
    rows_of_a(span, j0);
    row_end = span.end;
    store_tile(span.begin, j0);
  }
}
