/** For tests: one rank as a process. It prints `ok` or what went wrong; what it does is in its environment. */
import { directoryNameResolve } from '@realhf/comm/node';

import { ncclTensorCommunicator } from '../communicator.js';
import { checkCollectives, checkFences, checkGroups } from './rank-checks.js';
import { fill, matchDouble, openDevice, plain, rangeOf } from './test-device.js';

const { env } = process;
const rank = Number(env.RANK);
const size = Number(env.SIZE);
const scenario = env.SCENARIO ?? 'all';
const lengths = (env.LENGTHS ?? '1,31,1009,70001').split(',').map(Number);

/** On a machine with several GPUs: which this rank uses. */
const gpu = env.GPU ? { device: env.GPU } : {};

async function main(): Promise<string> {
  const names = directoryNameResolve(env.NAMES!);
  const device = await openDevice(gpu, env.UNLABELLED ? [] : undefined);
  matchDouble();
  const warnings: string[] = [];
  const comm = await ncclTensorCommunicator({
    device,
    rank,
    size,
    names,
    key: 'test/world',
    rangeOf,
    memory: env.MEMORY === 'staged' ? 'staged' : env.MEMORY === 'auto' ? 'auto' : 'shared',
    windowBytes: 64 * 1024,
    warn: (line) => warnings.push(line),
    timeoutMs: Number(env.TIMEOUT ?? 60_000),
    lifeSeconds: 2,
  });
  const t = plain(device, 1000);
  fill(device, t, new Float32Array(1000).fill(rank));
  if (scenario === 'all') {
    for (const n of lengths) await checkCollectives(device, comm, 'f32', n);
    for (const dtype of ['i32', 'u32', 'f16'] as const)
      await checkCollectives(device, comm, dtype, 1009);
    await checkFences(device, comm);
    if (env.GROUPS) await checkGroups(device, comm);
  }
  if (scenario === 'dies') {
    await comm.allReduce(t);
    if (rank === size - 1) process.kill(process.pid, 'SIGKILL');
    const errors = [];
    for (let k = 0; k < 2; k++) errors.push(await comm.allReduce(t).then(() => 'ok', String));
    await comm.close();
    return errors[0] === errors[1] ? String(errors[0]) : errors.join(' and then ');
  }
  if (scenario === 'late' && rank !== size - 1) await comm.allReduce(t);
  if (scenario === 'late' && rank === size - 1) await names.wait('test/world/failed/0');
  await comm.close();
  await names.close();
  return ['ok', comm.memory, ...warnings].join(' ');
}

main().then(
  (line) => {
    console.log(line);
    process.exit(0);
  },
  (e: unknown) => {
    console.log(String(e));
    process.exit(1);
  },
);
