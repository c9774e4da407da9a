// Sums of any tile: by way of workgroup memory, one 16×16 matrix a subgroup at a time.
const PATCH_LD = 20u;
var<workgroup> patches: array<f32, SUBS_M * SUBS_N * 16u * PATCH_LD>;

fn start(i: u32, j: u32, subgroup: u32, lane: u32, up: f32) -> Sum {
  let base = subgroup * 16u * PATCH_LD;
  workgroupBarrier();
  for (var id = lane; id < 64u; id += 32u) {
    let at = base + id / 4u * PATCH_LD + id % 4u * 4u;
    let v = fetch(i + id / 4u, j + id % 4u * 4u) * up;
    patches[at] = v.x;
    patches[at + 1u] = v.y;
    patches[at + 2u] = v.z;
    patches[at + 3u] = v.w;
  }
  workgroupBarrier();
  return unspill(base);
}

fn put(sum: Sum, i: u32, j: u32, subgroup: u32, lane: u32, down: f32) {
  let base = subgroup * 16u * PATCH_LD;
  workgroupBarrier();
  spill(times(sum, down), base);
  workgroupBarrier();
  for (var id = lane; id < 64u; id += 32u) {
    let at = base + id / 4u * PATCH_LD + id % 4u * 4u;
    let v = vec4f(patches[at], patches[at + 1u], patches[at + 2u], patches[at + 3u]);
    keep(i + id / 4u, j + id % 4u * 4u, v);
  }
}
