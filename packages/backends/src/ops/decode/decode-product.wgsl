// Few rows of activations times a weight, for a decode step, with what comes before and after it: follows one of
// decode-qkv.wgsl, decode-residual.wgsl, decode-gated.wgsl and decode-logits.wgsl, which say what becomes of a sum. Both
// operands come from memory straight into matrices, from octets: element (r, k) at ((r / 16 · K / 8 + k / 8) · 16 + r % 16) · 8
// + k % 8. A workgroup of S subgroups makes 16·TM rows of 16·TN columns; a subgroup takes every S-th run of U octets of k,
// and the S sums are added in order. So a sum depends on neither the number of rows nor TM. Rows are read in whole 16s:
// those beyond params.rows hold anything and are not kept. What a matrix is, and the entry point, say decode-matrices.wgsl.
@group(0) @binding(0) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f16>>;
// [rows, params.parts]: squares of the rows of a before they were scaled by the gains of their norm; added up here.
@group(0) @binding(2) var<storage, read> squares: array<f32>;

const T = S * 32u;
// Panels of 16 columns of which a workgroup makes the sums side by side: all, or the first halves of pairs.
const H = TN / (1u + PAIRS);
var<workgroup> spilled: array<f32, S * TN * 256u>;
var<workgroup> partial: array<f32, 64u * 8u>;
var<workgroup> inverse: array<f32, 64u>;
var<workgroup> new_squares: array<f32, 64u * 16u>;

// 1/σ of the rows of this workgroup, times 16: activations are stored as a sixteenth, out of reach of f16's largest.
fn find_inverses(first_row: u32, t: u32) {
  for (var id = t; id < 128u * TM; id += T) {
    let row = first_row + id / 8u;
    var sum = 0.0;
    if (row < params.rows) {
      for (var p = id % 8u; p < params.parts; p += 8u) { sum += squares[row * params.parts + p]; }
    }
    partial[id] = sum;
  }
  workgroupBarrier();
  for (var r = t; r < 16u * TM; r += T) {
    var sum = 0.0;
    for (var p = 0u; p < 8u; p++) { sum += partial[r * 8u + p]; }
    inverse[r] = 16.0 / sqrt(sum / f32(params.k) + params.eps);
  }
}

fn total(j: u32, e: u32) -> f32 {
  var sum = 0.0;
  for (var s = 0u; s < S; s++) { sum += spilled[(s * TN + j) * 256u + e]; }
  return sum;
}

fn product(group: vec3u, t: u32, subgroup: u32) {
  let octets = params.k / 8u;
  let first_row = group.y * 64u;
  let block = group.x / params.per;
  let first_panel = block * params.step + group.x % params.per * H;
  if (NORMED == 1u) { find_inverses(first_row, t); }
  var sums: array<Sum, TM * TN * 2u>;
  for (var kb = subgroup * U; kb < octets; kb += S * U) {
    var lefts: array<Left, TM * U>;
    var rights: array<Right, TN * 2u * U>;
    for (var u = 0u; u < U; u++) {
      for (var j = 0u; j < TN; j++) {
        let at = ((first_panel + j % H + j / H * params.gap) * octets + kb + u) * 32u;
        rights[(u * TN + j) * 2u] = right(at);
        rights[(u * TN + j) * 2u + 1u] = right(at + 16u);
      }
      for (var i = 0u; i < TM; i++) {
        lefts[u * TM + i] = left(((group.y * 4u + i) * octets + kb + u) * 32u);
      }
    }
    for (var u = 0u; u < U; u++) {
      for (var i = 0u; i < TM; i++) {
        for (var j = 0u; j < TN * 2u; j++) {
          sums[i * TN * 2u + j] =
            multiply(lefts[u * TM + i], rights[u * TN * 2u + j], sums[i * TN * 2u + j]);
        }
      }
    }
  }
  for (var i = 0u; i < TM; i++) {
    workgroupBarrier();
    for (var j = 0u; j < TN; j++) {
      let at = (subgroup * TN + j) * 256u;
      spill(sums[(i * TN + j) * 2u], at);
      spill(sums[(i * TN + j) * 2u + 1u], at + 8u);
    }
    workgroupBarrier();
    for (var e = t; e < 256u; e += T) {
      let r = i * 16u + e / 16u;
      var square = 0.0;
      for (var j = 0u; j < H; j++) {
        let v = total(j, e);
        var w = 0.0;
        if (PAIRS == 1u) { w = total(j + H, e); }
        if (first_row + r < params.rows) {
          square += finish(first_row + r, inverse[r], block, (group.x % params.per * H + j) * 16u + e % 16u, vec2f(v, w));
        }
      }
      new_squares[r * 16u + e % 16u] = square;
    }
  }
  if (SQUARES == 0u) { return; }
  workgroupBarrier();
  for (var r = t; r < 16u * TM; r += T) {
    var sum = 0.0;
    for (var c = 0u; c < 16u; c++) { sum += new_squares[r * 16u + c]; }
    if (first_row + r < params.rows) { keep_squares(first_row + r, group.x, sum); }
  }
}
