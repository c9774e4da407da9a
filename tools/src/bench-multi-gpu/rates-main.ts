/** All-reduce, one-way and two-way messages of device tensors from 1 MiB to 1 GiB: GB/s of a rank's bytes. */
import { runRank, seconds } from './rank.js';

const MiB = 2 ** 20;

await runRank(async ({ rank, ops, tensors, world, say }) => {
  if (tensors?.size !== 2) throw new Error('two ranks with NCCL are needed');
  const largest = Number(process.env.MAX_BYTES ?? 1024 * MiB);
  say('bytes | all-reduce | send → | send ⇄ (GB/s each way)');
  for (const bytes of [1, 4, 16, 64, 256, 1024].map((n) => n * MiB)) {
    if (bytes > largest) continue;
    const [a, b] = [ops.zeros([bytes / 4]), ops.zeros([bytes / 4])];
    const repeat = 12;
    const rate = async (run: () => Promise<unknown>) => {
      const until = performance.now() + Math.min(200, largest / MiB);
      // The card's clock, and a common start. The count must be the same on both ranks.
      for (let i = 0; i < 3; i++) await run();
      while (performance.now() < until) await new Promise((r) => setImmediate(r));
      await world.barrier();
      return (bytes / (await seconds(repeat, run)) / 1e9).toFixed(1);
    };
    const other = 1 - rank;
    const row = [
      await rate(() => tensors.allReduce(a)),
      await rate(() => (rank === 0 ? tensors.send(1, a) : tensors.recv(0, b))),
      await rate(() => Promise.all([tensors.send(other, a), tensors.recv(other, b)])),
    ];
    say(`${bytes / MiB} MiB | ${row.join(' | ')}`);
    ops.free(a, b);
  }
  await world.barrier();
  return true;
});
