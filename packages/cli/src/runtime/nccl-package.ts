/** What workers use of @realhf/comm-nccl. It is optional, so it is described here and imported when a run starts. */
import type { Tensor, TensorCommunicator } from '@realhf/api';
import type { NameResolve } from '@realhf/comm';

export interface NcclWorld extends TensorCommunicator {
  readonly memory: 'shared' | 'staged';
  group(ranks: readonly number[]): Promise<NcclWorld> | undefined;
  close(): Promise<void>;
}

export interface NcclOptions {
  readonly device: GPUDevice;
  readonly rank: number;
  readonly size: number;
  readonly names: NameResolve;
  readonly key: string;
  readonly rangeOf: (
    t: Tensor,
    written: boolean,
  ) => { readonly buffer: GPUBuffer; readonly offset: number; readonly bytes: number };
  readonly memory: 'auto' | 'shared';
  readonly gpu?: string;
  readonly timeoutMs: number;
  readonly warn: (line: string) => void;
}

export interface NcclPackage {
  readonly Cuda: new () => {
    readonly devices: readonly { readonly uuid: string; readonly pci: string }[];
  };
  readonly Nccl: new () => { readonly version: number };
  readonly labelToggle: string;
  withVulkanLayer<T>(options: { readonly device?: string }, body: () => Promise<T>): Promise<T>;
  openBridge(options: { device: GPUDevice; memory: 'shared' }): Promise<{ close(): void }>;
  ncclTensorCommunicator(options: NcclOptions): Promise<NcclWorld>;
  ncclVersionText(version: number): string;
}

const packageName = '@realhf/comm-nccl';

/** The package, or why it can't be had. */
export async function loadNccl(): Promise<NcclPackage | string> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `${packageName} is for x86-64 Linux`;
  try {
    return (await import(/* @vite-ignore */ packageName)) as NcclPackage;
  } catch (e) {
    const why = e instanceof Error ? (e.message.split('\n')[0] ?? '') : String(e);
    return `${packageName} does not load (${why}); npm install ${packageName}`;
  }
}
