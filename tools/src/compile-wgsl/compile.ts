/**
 * Compiles every kernel in every declared variant on Dawn's null backend, which needs no GPU: shader and pipeline, so
 * that a syntax error, a missing entry point or bindings that differ from the launcher's are found in milliseconds.
 * A `.wgsl` file that no kernel uses is an error too, and so are more storage buffers than browsers offer.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

import { header, type Kernel } from '@realhf/backends';

import { shaderText, type DoctorKernel } from '../../../packages/cli/src/doctor/kernels.js';

/** One text to compile. */
export interface Unit {
  readonly name: string;
  /** The text of the file as it is, or of several, one after the other. */
  readonly source: string;
  /** What is compiled: a header and the source. */
  readonly code: string;
  /** Given: a pipeline is made too. */
  readonly pipeline?: { readonly entry: string; readonly kernel: Kernel };
}

/** A kernel's variants; one without any is compiled without constants. */
export function kernelUnits(kernel: Kernel): Unit[] {
  const variants = kernel.variants.length > 0 ? kernel.variants : [{}];
  return variants.map((constants) => {
    const shown = Object.entries(constants).map(([name, value]) => `${name}=${value}`);
    return {
      name: [kernel.name, ...shown].join(' '),
      source: kernel.source,
      code: header(kernel, constants) + kernel.source,
      pipeline: { entry: kernel.entry, kernel },
    };
  });
}

export function doctorUnit(kernel: DoctorKernel): Unit {
  return { name: kernel.name, source: kernel.source, code: shaderText(kernel, kernel.constants) };
}

/** Every `.wgsl` file under `packages/<name>/src`: text by path from `root`. */
export function wgslFiles(root: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const name of readdirSync(join(root, 'packages'))) {
    const src = join(root, 'packages', name, 'src');
    for (const file of readdirSync(src, { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.wgsl')) continue;
      const path = join(src, file);
      files.set(relative(root, path), readFileSync(path, 'utf8'));
    }
  }
  return files;
}

/** Storage buffers a stage that a browser on a CPU gives, the least of the adapters that we run on. */
const maxStorageBuffers = 10;

/** Compiles all. @returns one line for each thing that is wrong, `file:line:column` first where it is known. */
export async function compileAll(
  device: GPUDevice,
  units: readonly Unit[],
  files: ReadonlyMap<string, string>,
): Promise<string[]> {
  const problems: string[] = [];
  const used = new Set<string>();
  for (const unit of units) {
    const parts = partsOf(unit, files);
    for (const { path } of parts) used.add(path);
    problems.push(...(await compile(device, unit, parts)));
  }
  for (const path of files.keys()) {
    if (!used.has(path))
      problems.push(`${path}: no kernel uses this file; define one or remove it`);
  }
  return problems;
}

/** A file inside the compiled text; `line` is how many lines stand before it. */
interface Part {
  readonly path: string;
  readonly line: number;
}

function partsOf({ code, source }: Unit, files: ReadonlyMap<string, string>): Part[] {
  const start = code.length - source.length;
  return [...files]
    .map(([path, text]) => ({ path, at: source.indexOf(text) }))
    .filter(({ at }) => at >= 0)
    .sort((a, b) => a.at - b.at)
    .map(({ path, at }) => ({ path, line: code.slice(0, start + at).split('\n').length - 1 }));
}

async function compile(device: GPUDevice, unit: Unit, parts: readonly Part[]): Promise<string[]> {
  const where = parts.at(-1)?.path ?? unit.name;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: unit.code });
  const { messages } = await module.getCompilationInfo();
  await device.popErrorScope();
  const problems = messages.map((m) => {
    const part = parts.findLast(({ line }) => line < m.lineNum);
    const place = part
      ? `${part.path}:${m.lineNum - part.line}:${m.linePos}`
      : `${where} (header line ${m.lineNum})`;
    return `${place}: ${m.type}: ${m.message.split('\n')[0] ?? ''} [${unit.name}]`;
  });
  if (problems.length > 0 || !unit.pipeline) return problems;
  const { kernel } = unit.pipeline;
  if (kernel.access.length > maxStorageBuffers) {
    return [
      `${where}: error: ${kernel.access.length} storage buffers, browsers offer ${maxStorageBuffers} [${unit.name}]`,
    ];
  }
  // The null adapter has no matrix shapes, so such a pipeline can't be made on it.
  if (kernel.enables?.includes('chromium_experimental_subgroup_matrix')) return [];
  const error = await pipelineError(device, module, unit.pipeline);
  // It also has the lowest limits there are; a kernel for larger ones is no mistake.
  if (error === undefined || /(exceeds|larger than) the maximum/.test(error)) return [];
  return [`${where}: error: ${error} [${unit.name}]`];
}

/** Makes the pipeline with the layout that the Recorder uses: storage in group 0, params in group 1. */
async function pipelineError(
  device: GPUDevice,
  module: GPUShaderModule,
  { entry, kernel }: NonNullable<Unit['pipeline']>,
): Promise<string | undefined> {
  const visibility = GPUShaderStage.COMPUTE;
  device.pushErrorScope('validation');
  const storage = device.createBindGroupLayout({
    entries: kernel.access.map((access, binding) => ({
      binding,
      visibility,
      buffer: { type: access === 'read' ? 'read-only-storage' : 'storage' },
    })),
  });
  const params = device.createBindGroupLayout({
    entries: [{ binding: 0, visibility, buffer: { type: 'uniform', hasDynamicOffset: true } }],
  });
  const hasParams = Object.keys(kernel.params).length > 0;
  const layout = device.createPipelineLayout({
    bindGroupLayouts: hasParams ? [storage, params] : [storage],
  });
  device.createComputePipeline({ layout, compute: { module, entryPoint: entry } });
  const error = await device.popErrorScope();
  return error?.message.split('\n')[0];
}
