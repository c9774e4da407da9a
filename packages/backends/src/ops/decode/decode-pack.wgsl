// f32 [rows, k] to octets of decode-product.wgsl; rows up to params.padded are zeros. An invocation makes one octet.
@group(0) @binding(0) var<storage, read> src: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> dst: array<vec4u>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = (group.x + group.y * groups.x) * 256u + t;
  let octets = params.k / 8u;
  if (id >= params.padded * octets) { return; }
  let row = id / (octets * 16u) * 16u + id % 16u;
  let at = (row * octets + id / 16u % octets) * 2u;
  var low = vec4<f16>();
  var high = vec4<f16>();
  if (row < params.rows) {
    low = half4(src[at]);
    high = half4(src[at + 1u]);
  }
  dst[id] = vec4u(bitcast<u32>(low.xy), bitcast<u32>(low.zw), bitcast<u32>(high.xy), bitcast<u32>(high.zw));
}
