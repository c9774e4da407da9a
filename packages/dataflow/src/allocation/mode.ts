/**
 * Allocation modes and layouts as texts (reference: L1, L2): `manual`, `heuristic`, `pipe_data`, `pipe_model`, or one
 * layout for every MFC on the whole cluster, `d2m2p1` in any order of d (data), m (tensor) and p (pipeline). The whole
 * text must match: the reference takes `d2m2p1x` for `d2m2p1`.
 */
import { ConfigError, type Parallelism } from '@realhf/api';
import { worldSize } from '@realhf/comm';
import { clusterSize, type Cluster } from './mesh.js';
import { Scanner } from './scanner.js';

/** How layouts are chosen. */
export type AllocationMode =
  | { readonly kind: 'manual' }
  | { readonly kind: 'heuristic' }
  | { readonly kind: 'symmetric'; readonly parallel: Parallelism };

const letters = ['d', 'm', 'p'];
const modes = 'manual, heuristic, pipe_data, pipe_model or a layout such as d2m2p1';

/** Throws ConfigError on another text, on `search`, and on a layout that does not fill the cluster. */
export function parseAllocationMode(text: string, cluster: Cluster): AllocationMode {
  if (text === 'manual' || text === 'heuristic') return { kind: text };
  if (text === 'search')
    throw new ConfigError(
      `allocation_mode 'search' needs measured times, which nothing here makes; use heuristic, or manual with a layout for each call`,
    );
  const [pp, wide] = [cluster.nodes.length, cluster.gpusPerNode];
  if (text === 'pipe_data') return { kind: 'symmetric', parallel: layout(wide, 1, pp) };
  if (text === 'pipe_model') return { kind: 'symmetric', parallel: layout(1, wide, pp) };
  if (!/^[dmp][0-9]/.test(text))
    throw new ConfigError(`allocation_mode '${text}' is unknown; use ${modes}`);
  const parallel = parseParallelism(text, 'allocation_mode');
  const [want, have] = [worldSize(parallel), clusterSize(cluster)];
  if (want !== have)
    throw new ConfigError(
      `allocation_mode '${text}' is a layout of ${want} devices, ${pp} × ${wide} gives ${have}; make the product equal to it`,
    );
  return { kind: 'symmetric', parallel };
}

/** `d2m2p1`, each letter once in any order; throws ConfigError that names the column at fault. */
export function parseParallelism(text: string, what = 'layout'): Parallelism {
  const scan = new Scanner(what, text);
  const sizes = new Map<string, number>();
  while (!scan.done) {
    const at = scan.at;
    const letter = scan.run(/[dmp]/);
    const missing = letters.filter((l) => !sizes.has(l)).map((l) => `'${l}'`);
    if (letter.length !== 1 && letter !== '') throw scan.error('a number must follow', at + 1);
    if (letter === '' && missing.length === 0) throw scan.expected('the end');
    if (letter === '') throw scan.expected(missing.join(' or '));
    if (sizes.has(letter)) throw scan.error(`'${letter}' stands here a second time`, at);
    const from = scan.at;
    const size = Number(scan.digits(`the size of '${letter}'`));
    if (size < 1) throw scan.error(`the size of '${letter}' is 0; it is at least 1`, from);
    sizes.set(letter, size);
  }
  const absent = letters.find((l) => !sizes.has(l));
  if (absent !== undefined) throw scan.expected(`'${absent}' and its size`);
  return layout(sizes.get('d')!, sizes.get('m')!, sizes.get('p')!);
}

/** `d2m2p1`. */
export function formatParallelism(p: Parallelism): string {
  return `d${p.dataParallelSize}m${p.tensorParallelSize}p${p.pipelineParallelSize}`;
}

/** A layout without sequence parallelism. */
export function layout(dp: number, tp: number, pp: number): Parallelism {
  return {
    dataParallelSize: dp,
    tensorParallelSize: tp,
    pipelineParallelSize: pp,
    useSequenceParallel: false,
  };
}
