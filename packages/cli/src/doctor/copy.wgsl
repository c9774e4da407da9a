// Copies 16-byte vectors, four in flight per invocation.
// Header: const COUNT: u32 (vectors, a multiple of 1024).
@group(0) @binding(0) var<storage, read> src: array<vec4u>;
@group(0) @binding(1) var<storage, read_write> dst: array<vec4u>;

@compute @workgroup_size(256)
fn copy(
  @builtin(workgroup_id) w: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (w.x + w.y * groups.x) * 1024u + t;
  if (i + 768u >= COUNT) {
    return;
  }
  let a = src[i];
  let b = src[i + 256u];
  let c = src[i + 512u];
  let d = src[i + 768u];
  dst[i] = a;
  dst[i + 256u] = b;
  dst[i + 512u] = c;
  dst[i + 768u] = d;
}
