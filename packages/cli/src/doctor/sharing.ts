/**
 * GPUs by UUID and PCI address, CUDA, NCCL, and whether they reach WebGPU's own buffers, by a round trip that is
 * checked. The package that does it is optional and only for x86-64 Linux: without it this says so.
 */
import { RealError } from '@realhf/api';
import { openGpu, type AdapterKind } from '@realhf/backends/node';

/** What the doctor tells of it, ready to print. */
export interface SharingReport {
  /** One a line. */
  readonly gpus: readonly string[];
  readonly cuda: string;
  readonly nccl: string;
  readonly works: string;
}

/** What is used of @realhf/comm-nccl. */
export interface NcclPackage {
  readonly Cuda: new () => { readonly version: number; readonly path: string };
  readonly Nccl: new () => { readonly version: number; readonly path: string };
  readonly VulkanLayer: new () => {
    devices(): readonly {
      readonly name: string;
      readonly uuid: string;
      readonly pci: string | undefined;
      readonly driver: string;
    }[];
  };
  readonly labelToggle: string;
  withVulkanLayer<T>(options: object, body: () => Promise<T>): Promise<T>;
  openBridge(options: { device: GPUDevice; memory: 'shared' }): Promise<{
    readonly gpu: { readonly name: string; readonly uuid: string };
    close(): void;
  }>;
  versionText(version: number): string;
  ncclVersionText(version: number): string;
}

const packageName = '@realhf/comm-nccl';

/** undefined where the package can't be had; never throws for what it finds. */
export async function examineSharing(
  kind: AdapterKind,
  load: () => Promise<NcclPackage> = async () =>
    (await import(/* @vite-ignore */ packageName)) as NcclPackage,
): Promise<SharingReport | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  let nccl: NcclPackage;
  try {
    nccl = await load();
  } catch {
    const none = `not looked for: npm install ${packageName}`;
    return { gpus: [], cuda: none, nccl: none, works: none };
  }
  const said = (e: unknown): string => {
    if (!RealError.is(e)) throw e;
    return e.message;
  };
  const tell = (what: () => string): string => {
    try {
      return what();
    } catch (e) {
      return said(e);
    }
  };
  const cuda = tell(() => {
    const found = new nccl.Cuda();
    return `${nccl.versionText(found.version)} (${found.path})`;
  });
  const library = tell(() => {
    const found = new nccl.Nccl();
    return `${nccl.ncclVersionText(found.version)} (${found.path})`;
  });
  let works: string;
  let gpus: readonly string[] = [];
  try {
    const { device } = await nccl.withVulkanLayer({}, () =>
      openGpu({
        adapter: kind,
        toggles: [nccl.labelToggle],
        resolveFrom: [import.meta.url],
        log: () => undefined,
      }),
    );
    gpus = new nccl.VulkanLayer()
      .devices()
      .map((d) => [d.name, d.uuid, d.pci ?? 'no PCI address', d.driver].filter(Boolean).join(', '));
    try {
      const bridge = await nccl.openBridge({ device, memory: 'shared' });
      works = `works: WebGPU → CUDA → WebGPU checked on ${bridge.gpu.name}, ${bridge.gpu.uuid}`;
      bridge.close();
    } finally {
      device.destroy();
    }
  } catch (e) {
    works = `no: ${said(e)}`;
  }
  return { gpus, cuda, nccl: library, works };
}
