// Sums over the lanes of a workgroup, the same in every lane: eight by eight, lanes ascending. Put before the norms that give a
// row to a workgroup, so that all add in one order. WG is a power of two.
var<workgroup> lanes: array<vec4f, WG>;

fn total_each(lane: u32, value: vec4f) -> vec4f {
  lanes[lane] = value;
  var width = WG;
  while (width > 1u) {
    let step = max(width / 8u, 1u);
    workgroupBarrier();
    if (lane < step) {
      var sum = lanes[lane];
      for (var j = lane + step; j < width; j += step) { sum += lanes[j]; }
      lanes[lane] = sum;
    }
    width = step;
  }
  workgroupBarrier();
  let sum = lanes[0];
  workgroupBarrier();
  return sum;
}

fn sum4(v: vec4f) -> f32 { return (v.x + v.y) + (v.z + v.w); }
// Of all components of all lanes.
fn total4(lane: u32, v: vec4f) -> f32 { return total_each(lane, vec4f(sum4(v), 0.0, 0.0, 0.0)).x; }
