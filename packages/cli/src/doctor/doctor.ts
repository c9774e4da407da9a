/**
 * `real doctor`: which adapter this machine gives, what it can do, how fast it is, and what to install for more.
 * It measures on purpose: an adapter that computes wrong or idles in software is seen here, not in a run.
 */
import { DeviceError, RealError } from '@realhf/api';
import { supportsF16Matmul } from '@realhf/backends';
import {
  openGpu,
  subgroupMatrixConfigs,
  type AdapterChoice,
  type OpenedGpu,
  type SubgroupMatrixConfig,
} from '@realhf/backends/node';

import { advice } from './advice.js';
import { copyBandwidth, matmul, type CopyResult, type MatmulResult } from './benchmarks.js';
import { examineSharing, type SharingReport } from './sharing.js';

/** What `json: true` prints, as one object. */
export interface DoctorReport {
  readonly ok: boolean;
  readonly node: string;
  readonly platform: string;
  readonly adapter?: string;
  readonly kind?: string;
  readonly driver?: string;
  readonly features?: readonly string[];
  readonly limits?: Readonly<Record<string, number>>;
  readonly subgroupSizes?: readonly [number, number];
  readonly subgroupMatrices?: readonly SubgroupMatrixConfig[];
  readonly steps: readonly string[];
  readonly matmulF32?: MatmulResult;
  readonly matmulF16?: MatmulResult;
  readonly copy?: CopyResult;
  /** GPUs by UUID and PCI address, CUDA and NCCL, and whether they reach WebGPU's buffers. */
  readonly sharing?: SharingReport;
  /** Errors that the device told, and measurements that failed. */
  readonly problems: readonly string[];
  readonly advice: readonly string[];
}

export interface DoctorOptions {
  readonly json: boolean;
  readonly write: (text: string) => void;
  readonly adapter?: AdapterChoice;
}

/** Prints the report. Throws DeviceError, after printing, when there is no adapter or it computes wrong. */
export async function doctor({ json, write, adapter }: DoctorOptions): Promise<void> {
  const report = await examine(adapter);
  write(json ? `${JSON.stringify(report)}\n` : describe(report));
  if (!report.ok) throw new DeviceError(`real doctor: ${report.problems[0] ?? 'no adapter'}`);
}

/** Opens the adapter and measures it. Never throws for what it finds: failures are in the report. */
export async function examine(adapter?: AdapterChoice): Promise<DoctorReport> {
  const machine = { node: process.version, platform: `${process.platform} ${process.arch}` };
  const steps: string[] = [];
  const problems: string[] = [];
  let gpu: OpenedGpu;
  try {
    gpu = await openGpu({
      adapter,
      resolveFrom: [import.meta.url],
      log: (line) => steps.push(line),
      onError: (error) => problems.push(error.message),
    });
  } catch (e) {
    if (!RealError.is(e)) throw e;
    return { ok: false, ...machine, steps, problems: [e.message], advice: advice(undefined) };
  }
  const attempt = async <T>(what: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await what();
    } catch (e) {
      if (!RealError.is(e)) throw e;
      problems.push(e.message);
      return undefined;
    }
  };
  const computes = gpu.kind !== 'null';
  const f32 = computes ? await attempt(() => matmul(gpu, 'f32')) : undefined;
  const f16 = supportsF16Matmul(gpu.device, gpu.info)
    ? await attempt(() => matmul(gpu, 'f16'))
    : undefined;
  const copy = computes ? await attempt(() => copyBandwidth(gpu)) : undefined;
  gpu.device.destroy();
  const sharing = computes ? await examineSharing(gpu.kind) : undefined;
  const { info } = gpu;
  return {
    ok: problems.length === 0,
    ...machine,
    adapter: gpu.adapterName,
    kind: gpu.kind,
    driver: gpu.driver,
    features: gpu.features,
    limits: gpu.limits,
    ...(info.subgroupMinSize !== undefined && info.subgroupMaxSize !== undefined
      ? { subgroupSizes: [info.subgroupMinSize, info.subgroupMaxSize] as const }
      : {}),
    subgroupMatrices: subgroupMatrixConfigs(info).map(
      ({ componentType, resultComponentType, M, N, K }) => ({
        componentType,
        resultComponentType,
        M,
        N,
        K,
      }),
    ),
    steps: gpu.steps,
    ...(f32 ? { matmulF32: f32 } : {}),
    ...(f16 ? { matmulF16: f16 } : {}),
    ...(copy ? { copy } : {}),
    ...(sharing ? { sharing } : {}),
    problems,
    advice: advice(gpu),
  };
}

/** The report as lines of text. */
export function describe(report: DoctorReport): string {
  const lines: string[] = [];
  const line = (name: string, value: string | undefined) => {
    if (value) lines.push(`${name.padEnd(14)}${value}`);
  };
  line('adapter', report.adapter ?? 'none');
  line('kind', report.kind);
  line('driver', report.driver);
  line('features', report.features?.join(', '));
  line('subgroups', report.subgroupSizes && [...new Set(report.subgroupSizes)].join(' to '));
  line(
    'matrices',
    report.subgroupMatrices
      ?.map((c) => `${c.componentType}→${c.resultComponentType} ${c.M}×${c.N}×${c.K}`)
      .join(', '),
  );
  Object.entries(report.limits ?? {}).forEach(([name, value], i) => {
    line(i === 0 ? 'limits' : '', `${name} ${value.toLocaleString('en-US')}`);
  });
  report.steps.forEach((step, i) => {
    line(i === 0 ? 'tried' : '', step);
  });
  line('node', `${report.node} on ${report.platform}`);
  line('f32 matmul', report.matmulF32 && matmulLine(report.matmulF32));
  line(
    'f16 matmul',
    report.matmulF16 ? matmulLine(report.matmulF16) : report.adapter && 'no f16 subgroup matrices',
  );
  line('copy', report.copy && `${report.copy.gbPerSecond.toFixed(1)} GB/s (read and written)`);
  report.sharing?.gpus.forEach((gpu, i) => {
    line(i === 0 ? 'GPUs' : '', gpu);
  });
  line('CUDA', report.sharing?.cuda);
  line('NCCL', report.sharing?.nccl);
  line('sharing', report.sharing?.works);
  report.problems.forEach((problem, i) => {
    line(i === 0 ? 'problems' : '', problem);
  });
  report.advice.forEach((text, i) => {
    line(i === 0 ? 'for more' : '', text);
  });
  return `${lines.join('\n')}\n`;
}

function matmulLine({ gflops, size, relativeError }: MatmulResult): string {
  const rate =
    gflops >= 1000 ? `${(gflops / 1000).toFixed(1)} TFLOP/s` : `${gflops.toFixed(1)} GFLOP/s`;
  return `${rate} (${size}³, relative error ${relativeError.toExponential(1)})`;
}
