/**
 * Device meshes (reference: L3, L4): `NODE01`, `NODE[01-03,07]`, `NODE01,NODE02`, `NODE01:0,1`, null for the whole
 * cluster. A mesh is a run of neighbouring devices of one node, or whole neighbouring nodes; no count of nodes or
 * devices need be a power of two. Device d of node n is the global rank n · gpusPerNode + d.
 */
import { ConfigError, type DeviceMesh } from '@realhf/api';
import { Scanner } from './scanner.js';

/** Nodes and the devices of each. */
export interface Cluster {
  /** Names in rank order. */
  readonly nodes: readonly string[];
  readonly gpusPerNode: number;
}

/** How many nodes and devices there are. */
export interface ClusterOptions {
  readonly nNodes: number;
  readonly nGpusPerNode: number;
  /** Of the names of nodes, which are `<prefix>01`, `<prefix>02`, …. Default `NODE`. */
  readonly nodePrefix?: string;
  /** Names instead of the prefix, e.g. `gpu-[03-06]`; as many as there are nodes. */
  readonly nodelist?: string | null;
}

/** Throws ConfigError on counts below 1 or a list of another length. */
export function makeCluster(options: ClusterOptions): Cluster {
  const { nNodes, nGpusPerNode, nodePrefix = 'NODE', nodelist } = options;
  for (const [what, n] of [
    ['nodes', nNodes],
    ['devices per node', nGpusPerNode],
  ] as const)
    if (!Number.isInteger(n) || n < 1)
      throw new ConfigError(`a cluster of ${n} ${what}; give a whole number of at least 1`);
  if (nodelist === undefined || nodelist === null) {
    const nodes = Array.from(
      { length: nNodes },
      (_, i) => nodePrefix + String(i + 1).padStart(2, '0'),
    );
    return { nodes, gpusPerNode: nGpusPerNode };
  }
  const scan = new Scanner('nodelist', nodelist);
  const nodes = hosts(scan).map((h) => h.name);
  if (!scan.done) throw scan.expected(`',' or the end`);
  const twice = nodes.find((n, i) => nodes.indexOf(n) !== i);
  if (twice !== undefined)
    throw new ConfigError(`nodelist '${nodelist}' names '${twice}' twice; remove one`);
  if (nodes.length !== nNodes)
    throw new ConfigError(
      `nodelist '${nodelist}' names ${nodes.length} nodes, n_nodes is ${nNodes}; make them equal`,
    );
  return { nodes, gpusPerNode: nGpusPerNode };
}

/** Ranks of the cluster. */
export function clusterSize(cluster: Cluster): number {
  return cluster.nodes.length * cluster.gpusPerNode;
}

/** The mesh of a text, null for everything. Throws ConfigError that names the column at fault. */
export function parseMesh(text: string | null, cluster: Cluster): DeviceMesh {
  const { gpusPerNode } = cluster;
  const all = Array.from({ length: gpusPerNode }, (_, i) => i);
  if (text === null) return { nodes: cluster.nodes, devices: all };
  const scan = new Scanner('mesh', text);
  const named = hosts(scan);
  const indices = named.map(({ name, at }, i) => {
    const index = cluster.nodes.findIndex((n) => sameNode(n, name));
    if (index < 0)
      throw scan.error(`there is no node '${name}'; nodes are ${listed(cluster.nodes)}`, at);
    const earlier = i > 0 && cluster.nodes.findIndex((n) => sameNode(n, named[i - 1]!.name));
    if (earlier !== false && index !== earlier + 1)
      throw scan.error(
        `node '${name}' does not follow '${named[i - 1]!.name}'; a mesh is of neighbouring nodes in order`,
        at,
      );
    return index;
  });
  const nodes = indices.map((i) => cluster.nodes[i]!);
  if (scan.done) return { nodes, devices: all };
  if (!scan.accept(':')) throw scan.expected(`',', ':' or the end`);
  const from = scan.at;
  const devices = deviceList(scan, gpusPerNode);
  if (nodes.length > 1 && devices.length < gpusPerNode)
    throw scan.error(
      `${devices.length} of ${gpusPerNode} devices on each of ${nodes.length} nodes; a mesh of several nodes has all of theirs`,
      from,
    );
  return { nodes, devices };
}

/** Global ranks, ascending. Throws ConfigError on a node that the cluster has not. */
export function meshRanks(mesh: DeviceMesh, cluster: Cluster): number[] {
  return mesh.nodes.flatMap((name) => {
    const node = cluster.nodes.indexOf(name);
    if (node < 0)
      throw new ConfigError(
        `a mesh has node '${name}', the cluster has ${listed(cluster.nodes)}; use one of these`,
      );
    return mesh.devices.map((d) => node * cluster.gpusPerNode + d);
  });
}

/** The text that `parseMesh` reads as this mesh: `NODE01`, `NODE[01-03]`, `NODE01:0,1`. */
export function formatMesh(mesh: DeviceMesh, cluster: Cluster): string {
  const devices = mesh.devices.length < cluster.gpusPerNode ? `:${mesh.devices.join(',')}` : '';
  const [first = '', last = ''] = [mesh.nodes[0], mesh.nodes.at(-1)];
  if (mesh.nodes.length <= 1) return first + devices;
  const [a, b] = [first, last].map((n) => /^(.*?)([0-9]+)$/.exec(n));
  return a && b && a[1] === b[1]
    ? `${a[1]!}[${a[2]!}-${b[2]!}]`
    : `${mesh.nodes.join(',')}${devices}`;
}

/**
 * All meshes of a cluster: every run of devices within a node, every run of at least two whole nodes. Largest first,
 * then by first rank.
 */
export function allMeshes(cluster: Cluster): DeviceMesh[] {
  const { nodes, gpusPerNode } = cluster;
  const run = (from: number, n: number) => Array.from({ length: n }, (_, i) => from + i);
  const meshes: DeviceMesh[] = [];
  for (let n = nodes.length; n >= 2; n--)
    for (let from = 0; from + n <= nodes.length; from++)
      meshes.push({ nodes: nodes.slice(from, from + n), devices: run(0, gpusPerNode) });
  for (let n = gpusPerNode; n >= 1; n--)
    for (const node of nodes)
      for (let from = 0; from + n <= gpusPerNode; from++)
        meshes.push({ nodes: [node], devices: run(from, n) });
  return meshes;
}

interface Host {
  readonly name: string;
  /** Index in the text. */
  readonly at: number;
}

/** host (',' host)*, a host being a name or `name[01-03,07]`. */
function hosts(scan: Scanner): Host[] {
  const found: Host[] = [];
  do {
    const at = scan.at;
    const name = scan.run(/[A-Za-z0-9._-]/);
    if (name === '') throw scan.expected('the name of a node');
    if (!scan.accept('[')) {
      found.push({ name, at });
      continue;
    }
    do found.push(...numbers(scan, name));
    while (scan.accept(','));
    if (!scan.accept(']')) throw scan.expected(`a digit, '-', ',' or ']'`);
  } while (scan.accept(','));
  return found;
}

/** `03` or `01-03`, as names. */
function numbers(scan: Scanner, prefix: string): Host[] {
  const at = scan.at;
  const first = scan.digits('the number of a node');
  if (!scan.accept('-')) return [{ name: prefix + first, at }];
  const lastAt = scan.at;
  const last = scan.digits('the last number of the range');
  if (!/[,\]]/.test(scan.peek())) throw scan.expected(`a digit, ',' or ']'`);
  const [a, b] = [Number(first), Number(last)];
  if (b < a) throw scan.error(`the range ${first}-${last} runs backwards`, lastAt);
  if (b - a >= 65536) throw scan.error(`the range ${first}-${last} is too long`, lastAt);
  return Array.from({ length: b - a + 1 }, (_, i) => ({
    name: prefix + String(a + i).padStart(first.length, '0'),
    at,
  }));
}

/** device (',' device)*, ascending without gaps. */
function deviceList(scan: Scanner, gpusPerNode: number): number[] {
  const devices: number[] = [];
  do {
    const at = scan.at;
    const d = Number(scan.digits('the number of a device'));
    if (d >= gpusPerNode)
      throw scan.error(`there is no device ${d}; a node has 0 to ${gpusPerNode - 1}`, at);
    const last = devices.at(-1);
    if (last !== undefined && d !== last + 1)
      throw scan.error(
        `device ${d} does not follow ${last}; a mesh is of neighbouring devices in order`,
        at,
      );
    devices.push(d);
  } while (scan.accept(','));
  if (!scan.done) throw scan.expected(`',' or the end`);
  return devices;
}

/** `NODE1` and `NODE01` are one node. */
function sameNode(a: string, b: string): boolean {
  const plain = (s: string) => s.replace(/0+(?=[0-9]+$)/, '');
  return a === b || plain(a) === plain(b);
}

function listed(names: readonly string[]): string {
  return names.length > 4 ? `${names[0]!} … ${names.at(-1)!}` : names.join(', ');
}
