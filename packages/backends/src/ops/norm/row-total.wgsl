// Sum over the lanes of a workgroup, the same in every lane: eight by eight, lanes ascending. Put before the norms that give a
// row to a workgroup, so that all add in one order. WG is a power of two.
var<workgroup> lanes: array<vec2f, WG>;

fn total2(lane: u32, value: vec2f) -> vec2f {
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

fn total(lane: u32, value: f32) -> f32 { return total2(lane, vec2f(value, 0.0)).x; }
fn total4(lane: u32, v: vec4f) -> f32 { return total(lane, (v.x + v.y) + (v.z + v.w)); }
