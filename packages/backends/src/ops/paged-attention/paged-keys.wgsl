// Keys in pages, put before attention.wgsl and attention-workgroup.wgsl: key s of a query is in row s mod PAGE of the page that its line of the table
// names. A query attends to the keys of its sequence up to its own, or to the last `window` of them.
@group(0) @binding(3) var<storage, read> rows: array<u32>;
@group(0) @binding(6) var<storage, read> page_table: array<u32>;

fn line_of(t: u32) -> u32 {
  return rows[params.row_offset + t * params.row_stride];
}

fn range_of(t: u32) -> vec2u {
  let end = rows[params.row_offset + t * params.row_stride + 1u];
  return vec2u(max(end, params.window) - params.window, end);
}

fn key_row(t: u32, key: u32) -> u32 {
  let page = page_table[line_of(t) * params.table_stride + (key >> params.page_bits)];
  return (page << params.page_bits) + (key & ((1u << params.page_bits) - 1u));
}

fn key_rows(t: u32, keys: vec4u) -> vec4u {
  let at = line_of(t) * params.table_stride + (keys >> vec4u(params.page_bits));
  let pages = vec4u(page_table[at.x], page_table[at.y], page_table[at.z], page_table[at.w]);
  return (pages << vec4u(params.page_bits)) + (keys & vec4u((1u << params.page_bits) - 1u));
}

fn same_keys(t: u32, other: u32) -> bool {
  return line_of(t) == line_of(other) && range_of(t).x == range_of(other).x;
}
