/**
 * `npm run bench:comm`: the socket communicator between two processes of this machine, beside iperf3 where that is
 * installed. Rounds of both alternate, so that a neighbour on the machine hits both alike.
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import type { Communicator } from '@realhf/api';
import { directoryNameResolve, socketCommunicator } from '@realhf/comm/node';

import { median } from '../bench/timing.js';

const iperf3 = 'iperf3';
const help = `npm run bench:comm -- [--mb N] [--rounds N] [--iperf-port N]
  --mb          size of a message in MB; default 64
  --rounds      rounds, of which the median and the best are shown; default 7
  --iperf-port  where iperf3 may listen; default 5201`;

export async function main(root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      mb: { type: 'string', default: '64' },
      rounds: { type: 'string', default: '7' },
      'iperf-port': { type: 'string', default: '5201' },
      names: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const [mb, rounds] = [Number(values.mb), Number(values.rounds)];
  if (values.help || !(mb > 0) || !Number.isInteger(rounds) || rounds < 1) {
    console.log(help);
    return values.help ? 0 : 2;
  }
  if (values.names !== undefined) {
    await measure(await join2(values.names, 1), mb, rounds, () => undefined);
    return 0;
  }
  const folder = mkdtempSync(join(tmpdir(), 'bench-comm-'));
  process.env.BENCH_COMM_SECRET = randomBytes(32).toString('hex');
  const child = spawn(
    process.execPath,
    [...process.execArgv, join(root, 'tools/bench-comm.mjs'), '--names', folder, ...args],
    { stdio: 'inherit' },
  );
  const ended = once(child, 'exit') as Promise<[number | null]>;
  try {
    const iperf: [number[], number[]] = [[], []];
    const port = values['iperf-port'];
    const server = iperfServer(port);
    const times = await measure(await join2(folder, 0), mb, rounds, () => {
      if (server) for (const i of [0, 1] as const) iperf[i].push(iperfOnce(port, i === 1));
    });
    server?.kill();
    report(times, mb, iperf);
  } finally {
    rmSync(folder, { recursive: true });
  }
  return (await ended)[0] ?? 1;
}

function join2(folder: string, rank: number): Promise<Communicator> {
  return socketCommunicator({
    rank,
    size: 2,
    nameResolve: directoryNameResolve(folder, { pollMs: 5 }),
    prefix: 'bench',
    secret: process.env.BENCH_COMM_SECRET ?? '',
  });
}

/** Seconds of each round of each job; both ranks run it, `between` comes after each round of rank 0. */
async function measure(
  comm: Communicator,
  mb: number,
  rounds: number,
  between: () => void,
): Promise<Map<string, number[]>> {
  const [a, b] = [0, 1].map(() => new Float32Array((mb * 1e6) / 4).fill(1));
  const small = new Float32Array(1024);
  const peer = 1 - comm.rank;
  const oneWay = () => (comm.rank === 0 ? comm.send(1, a!) : comm.recv(0, a!));
  const jobs: Record<string, () => Promise<unknown>> = {
    send: oneWay,
    'send both ways': () => Promise.all([comm.send(peer, a!), comm.recv(peer, b!)]),
    allReduce: () => comm.allReduce(a!),
    'allReduce of 4 KB': () => comm.allReduce(small),
    barrier: () => comm.barrier(),
  };
  const times = new Map(Object.keys(jobs).map((name) => [name, [] as number[]]));
  for (let round = 0; round <= rounds; round++) {
    for (const [name, run] of Object.entries(jobs)) {
      await comm.barrier();
      const start = performance.now();
      await run();
      // Rank 0's clock stops when rank 1 has all.
      if (name === 'send') await comm.barrier();
      // The first round warms up.
      if (round > 0) times.get(name)!.push((performance.now() - start) / 1000);
    }
    if (comm.rank === 0) between();
  }
  await comm.close();
  return times;
}

function iperfServer(port: string): ChildProcess | undefined {
  if (spawnSync(iperf3, ['--version']).error) return undefined;
  return spawn(iperf3, ['-s', '-B', '127.0.0.1', '-p', port], { stdio: 'ignore' });
}

/** GB/s of a connection that sends 1 GiB, or of each of two that do so in opposite directions. */
function iperfOnce(port: string, bothWays: boolean): number {
  const args = ['-c', '127.0.0.1', '-p', port, '-n', '1G', '-J', ...(bothWays ? ['--bidir'] : [])];
  const { stdout } = spawnSync(iperf3, args, { encoding: 'utf8', timeout: 30_000 });
  const { end } = JSON.parse(stdout) as {
    end: Record<string, { bits_per_second: number } | undefined>;
  };
  const sums = [end.sum_received, end.sum_received_bidir_reverse].flatMap((s) => s ?? []);
  if (sums.length === 0) throw new Error(`iperf3 on port ${port} failed: ${stdout.slice(0, 500)}`);
  return sums.reduce((total, s) => total + s.bits_per_second / 8e9, 0) / sums.length;
}

function report(
  times: Map<string, number[]>,
  mb: number,
  iperf: readonly (readonly number[])[],
): void {
  const row = (name: string, ...cells: string[]) => {
    console.log(name.padEnd(24) + cells.map((c) => c.padStart(10)).join(''));
  };
  const short = (x: number) => x.toPrecision(3);
  row(`${mb} MB`, 'ms', 'GB/s', 'best ms', 'best GB/s');
  for (const [name, seconds] of times) {
    const cells = [median(seconds), Math.min(...seconds)].flatMap((s) => [
      short(s * 1000),
      // An allReduce of n ranks moves 2(n − 1)/n of the data each way: with two ranks all of it.
      /KB|barrier/.test(name) ? '' : short(mb / 1000 / s),
    ]);
    row(name, ...cells);
  }
  if (iperf[0]!.length === 0) {
    console.log('iperf3 is not installed');
    return;
  }
  for (const [i, name] of ['iperf3', 'iperf3 both ways'].entries())
    row(name, '', short(median(iperf[i]!)), '', short(Math.max(...iperf[i]!)));
}
