// What both forms of the backward pass read of a row.
@group(0) @binding(1) var<storage, read> labels: array<i32>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read> d_log_probs: array<f32>;
@group(0) @binding(5) var<storage, read> d_entropy: array<f32>;
@group(0) @binding(6) var<storage, read> entropy: array<f32>;

// What all columns of a row share.
struct Row {
  index: u32,
  lse: f32,
  label: i32,
  d_log_prob: f32,
  d_entropy: f32,
  entropy: f32,
}

fn row_of(row: u32) -> Row {
  var r = Row(row, lse[row], labels[row], d_log_probs[row], 0.0, 0.0);
  if (params.has_entropy != 0u) {
    r.d_entropy = d_entropy[row];
    r.entropy = entropy[row];
  }
  return r;
}
