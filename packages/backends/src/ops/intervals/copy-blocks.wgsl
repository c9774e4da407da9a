// Copies (`copy`) or blends (`blend`) strided blocks; `…4` four elements at a time. All elements of all blocks are
// numbered through, and a workgroup does TILE of these numbers: it looks its first block up once and goes on from there,
// so long and short blocks keep the device equally busy. Four loads are in flight before the first store.
// `pack` and `unpack` turn f32 to pairs of f16 and back. Halves are made by integer arithmetic, to the nearest even: the
// built-in functions may round otherwise, and a driver may take unpack(pack(x)) for x.
@group(0) @binding(0) var<storage, read> src: array<u32>;
@group(0) @binding(1) var<storage, read> blocks: array<u32>;
@group(0) @binding(2) var<storage, read_write> dst: array<u32>;
@group(0) @binding(0) var<storage, read> src4: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> dst4: array<vec4u>;
@group(0) @binding(0) var<storage, read> floats: array<f32>;
@group(0) @binding(1) var<storage, read_write> words: array<u32>;
@group(0) @binding(0) var<storage, read> packed: array<u32>;
@group(0) @binding(1) var<storage, read_write> unpacked: array<f32>;

struct Block { first: u32, source: u32, place: u32, run: u32, source_stride: u32, place_stride: u32 }

/// Block b in units of UNIT elements (1 or 4).
fn block(b: u32, shift: u32) -> Block {
  let at = 6u * b;
  return Block(
    blocks[at] >> shift, blocks[at + 1u] >> shift, blocks[at + 2u] >> shift,
    blocks[at + 3u] >> shift, blocks[at + 4u] >> shift, blocks[at + 5u] >> shift,
  );
}

/// The last block that begins at or before unit `at`.
fn locate(at: u32, shift: u32) -> u32 {
  var low = 0u;
  var high = params.count - 1u;
  while (low < high) {
    let middle = (low + high + 1u) >> 1u;
    if ((blocks[6u * middle] >> shift) <= at) { low = middle; } else { high = middle - 1u; }
  }
  return low;
}

fn end_of(b: u32, shift: u32) -> u32 {
  if (b + 1u < params.count) { return blocks[6u * b + 6u] >> shift; }
  return params.total;
}

fn source_at(b: Block, i: u32) -> u32 {
  let row = (i - b.first) / b.run;
  return b.source + row * b.source_stride + (i - b.first - row * b.run);
}
fn place_at(b: Block, i: u32) -> u32 {
  let row = (i - b.first) / b.run;
  return b.place + row * b.place_stride + (i - b.first - row * b.run);
}

/// f16 bits of an f32, to the nearest even; what is too large is infinite.
fn half_bits(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) { return sign | 0x7e00u; }
  if (size >= 0x477ff000u) { return sign | 0x7c00u; }
  // Below 2^-14 a half counts in steps of 2^-24.
  if (size < 0x38800000u) { return sign | u32(round(bitcast<f32>(size) * 16777216.0)); }
  return sign | ((size + 0xfffu + ((size >> 13u) & 1u) - 0x38000000u) >> 13u);
}
fn half_value(half: u32) -> f32 {
  let sign = (half & 0x8000u) << 16u;
  let size = half & 0x7fffu;
  if (size >= 0x7c00u) { return bitcast<f32>(sign | 0x7f800000u | ((size & 0x3ffu) << 13u)); }
  if (size < 0x400u) { return bitcast<f32>(sign | bitcast<u32>(f32(size) * 5.9604644775390625e-8)); }
  return bitcast<f32>(sign | ((size << 13u) + 0x38000000u));
}

fn value(bits: u32) -> f32 {
  if (HALF == 1u) { return half_value(half_bits(bitcast<f32>(bits))); }
  return bitcast<f32>(bits);
}
fn kept(bits: u32) -> u32 {
  if (HALF == 1u) { return bitcast<u32>(value(bits)); }
  return bits;
}
fn kept4(bits: vec4u) -> vec4u {
  if (HALF == 1u) { return vec4u(kept(bits.x), kept(bits.y), kept(bits.z), kept(bits.w)); }
  return bits;
}
fn blended(from_bits: u32, old_bits: u32) -> u32 {
  return bitcast<u32>(params.eta * value(from_bits) + (1.0 - params.eta) * bitcast<f32>(old_bits));
}
fn blended4(a: vec4u, b: vec4u) -> vec4u {
  return vec4u(blended(a.x, b.x), blended(a.y, b.y), blended(a.z, b.z), blended(a.w, b.w));
}

@compute @workgroup_size(WG)
fn copy(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  var at = (group.x + group.y * groups.x) * TILE;
  let end = min(at + TILE, params.total);
  for (var n = locate(at, 0u); at < end; n++) {
    let b = block(n, 0u);
    let stop = min(end, end_of(n, 0u));
    var i = at + lane;
    for (; i + 3u * WG < stop; i += 4u * WG) {
      let v0 = src[source_at(b, i)];
      let v1 = src[source_at(b, i + WG)];
      let v2 = src[source_at(b, i + 2u * WG)];
      let v3 = src[source_at(b, i + 3u * WG)];
      dst[place_at(b, i)] = kept(v0);
      dst[place_at(b, i + WG)] = kept(v1);
      dst[place_at(b, i + 2u * WG)] = kept(v2);
      dst[place_at(b, i + 3u * WG)] = kept(v3);
    }
    for (; i < stop; i += WG) { dst[place_at(b, i)] = kept(src[source_at(b, i)]); }
    at = stop;
  }
}

@compute @workgroup_size(WG)
fn copy4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  var at = (group.x + group.y * groups.x) * TILE;
  let end = min(at + TILE, params.total);
  for (var n = locate(at, 2u); at < end; n++) {
    let b = block(n, 2u);
    let stop = min(end, end_of(n, 2u));
    var i = at + lane;
    for (; i + 3u * WG < stop; i += 4u * WG) {
      let v0 = src4[source_at(b, i)];
      let v1 = src4[source_at(b, i + WG)];
      let v2 = src4[source_at(b, i + 2u * WG)];
      let v3 = src4[source_at(b, i + 3u * WG)];
      dst4[place_at(b, i)] = kept4(v0);
      dst4[place_at(b, i + WG)] = kept4(v1);
      dst4[place_at(b, i + 2u * WG)] = kept4(v2);
      dst4[place_at(b, i + 3u * WG)] = kept4(v3);
    }
    for (; i < stop; i += WG) { dst4[place_at(b, i)] = kept4(src4[source_at(b, i)]); }
    at = stop;
  }
}

@compute @workgroup_size(WG)
fn blend(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  var at = (group.x + group.y * groups.x) * TILE;
  let end = min(at + TILE, params.total);
  for (var n = locate(at, 0u); at < end; n++) {
    let b = block(n, 0u);
    let stop = min(end, end_of(n, 0u));
    for (var i = at + lane; i < stop; i += WG) {
      let place = place_at(b, i);
      dst[place] = blended(src[source_at(b, i)], dst[place]);
    }
    at = stop;
  }
}

@compute @workgroup_size(WG)
fn blend4(
  @builtin(workgroup_id) group: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  var at = (group.x + group.y * groups.x) * TILE;
  let end = min(at + TILE, params.total);
  for (var n = locate(at, 2u); at < end; n++) {
    let b = block(n, 2u);
    let stop = min(end, end_of(n, 2u));
    for (var i = at + lane; i < stop; i += WG) {
      let place = place_at(b, i);
      dst4[place] = blended4(src4[source_at(b, i)], dst4[place]);
    }
    at = stop;
  }
}

@compute @workgroup_size(WG)
fn pack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (2u * i >= params.total) { return; }
  var word = half_bits(floats[2u * i]);
  if (2u * i + 1u < params.total) { word |= half_bits(floats[2u * i + 1u]) << 16u; }
  words[i] = word;
}

@compute @workgroup_size(WG)
fn unpack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = linear_index(id, groups, WG);
  if (2u * i >= params.total) { return; }
  let word = packed[i];
  unpacked[2u * i] = half_value(word & 0xffffu);
  if (2u * i + 1u < params.total) { unpacked[2u * i + 1u] = half_value(word >> 16u); }
}
