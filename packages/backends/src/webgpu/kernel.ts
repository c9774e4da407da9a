/**
 * A kernel: one entry point of a whole `.wgsl` file, with what the launcher must know about it. The file is never
 * edited; `header()` is put before it: enables, `const` lines, the uniform `params` and `linear_index`.
 * Params are described once, here, and the WGSL struct is made from that description.
 */

export type ParamType = 'u32' | 'i32' | 'f32';
export type Access = 'read' | 'read_write';
export type Constants = Readonly<Record<string, number>>;

/** A WGSL kernel: code, entry point, parameters, and the variants to check. */
export interface Kernel<
  P extends Readonly<Record<string, ParamType>> = Readonly<Record<string, ParamType>>,
> {
  readonly name: string;
  readonly source: string;
  readonly entry: string;
  /** Fields of `params`, at most 64; empty = no uniform is bound. */
  readonly params: P;
  /** Storage bindings 0, 1, … of group 0. */
  readonly access: readonly Access[];
  /** Constant sets that the compile check tries (and whose names the launcher may set). Unsigned unless the name starts with F_. */
  readonly variants: readonly Constants[];
  /** WGSL extensions, e.g. f16. */
  readonly enables?: readonly string[];
}

/** All kernels, for the compile check. */
export const kernels: Kernel[] = [];

export function defineKernel<P extends Readonly<Record<string, ParamType>>>(
  kernel: Kernel<P>,
): Kernel<P> {
  kernels.push(kernel);
  return kernel;
}

/** The text put before the file; integers become `const NAME = 1u;`, names starting with `F_` floats. */
export function header(kernel: Kernel, constants: Constants): string {
  const lines = (kernel.enables ?? []).map((e) => `enable ${e};`);
  // Its analysis does not see that loops over params are uniform.
  if (kernel.enables?.includes('chromium_experimental_subgroup_matrix'))
    lines.unshift('diagnostic(off, chromium.subgroup_matrix_uniformity);');
  for (const [name, value] of Object.entries(constants)) {
    lines.push(
      name.startsWith('F_')
        ? `const ${name}: f32 = ${value.toExponential()};`
        : `const ${name} = ${value}u;`,
    );
  }
  const fields = Object.entries(kernel.params);
  if (fields.length > 0) {
    lines.push(`struct Params { ${fields.map(([n, t]) => `${n}: ${t}`).join(', ')} }`);
    lines.push('@group(1) @binding(0) var<uniform> params: Params;');
  }
  // Grids above 65,535 workgroups fold into y: see grid1d.
  lines.push(
    'fn linear_index(id: vec3u, groups: vec3u, size: u32) -> u32 { return id.x + id.y * groups.x * size; }',
  );
  return `${lines.join('\n')}\n`;
}

/** Writes params (names and types in order) into a uniform slot at `byteOffset`. */
export function writeParams(
  params: readonly (readonly [string, ParamType])[],
  values: Readonly<Record<string, number>>,
  view: DataView,
  byteOffset: number,
): void {
  let at = byteOffset;
  for (const [name, type] of params) {
    const value = values[name]!;
    if (type === 'f32') view.setFloat32(at, value, true);
    else if (type === 'i32') view.setInt32(at, value, true);
    else view.setUint32(at, value, true);
    at += 4;
  }
}

/** Workgroups [x, y, 1] for `count` workgroups in one dimension. */
export function grid1d(count: number): [number, number, number] {
  if (count <= 65535) return [Math.max(count, 1), 1, 1];
  const y = Math.ceil(count / 65535);
  return [Math.ceil(count / y), y, 1];
}
