/**
 * All-reduce, one-way and two-way messages of device tensors from 256 bytes to 1 GiB: GB/s of a rank's bytes and µs of a
 * call. One rank sends to itself.
 */
import { runRank, seconds } from './rank.js';

const MiB = 2 ** 20;

await runRank(async ({ rank, size, ops, tensors, world, say }) => {
  if (!tensors || size > 2) throw new Error('one or two ranks with NCCL are needed');
  const largest = Number(process.env.MAX_BYTES ?? 1024 * MiB);
  say('bytes | all-reduce | send → | send ⇄ (GB/s each way; µs)');
  const sizes = [256, ...[1, 4, 16, 64, 256, 1024].map((n) => n * MiB)];
  for (const bytes of sizes.filter((n) => n <= largest)) {
    const [a, b] = [ops.zeros([bytes / 4]), ops.zeros([bytes / 4])];
    const repeat = 12;
    const rate = async (run: () => Promise<unknown>) => {
      const until = performance.now() + Math.min(200, largest / MiB);
      // The card's clock, and a common start. The count must be the same on both ranks.
      for (let i = 0; i < 3; i++) await run();
      while (performance.now() < until) await new Promise((r) => setImmediate(r));
      await world.barrier();
      const s = await seconds(repeat, run);
      return `${(bytes / s / 1e9).toFixed(1)}; ${(s * 1e6).toFixed(0)}`;
    };
    const other = size - 1 - rank;
    const both = () => Promise.all([tensors.send(other, a), tensors.recv(other, b)]);
    const oneWay = () => (rank === 0 ? tensors.send(1, a) : tensors.recv(0, b));
    const row = [
      await rate(() => tensors.allReduce(a)),
      size === 1 ? '-' : await rate(oneWay),
      await rate(both),
    ];
    say(`${bytes < MiB ? `${bytes} B` : `${bytes / MiB} MiB`} | ${row.join(' | ')}`);
    ops.free(a, b);
  }
  await world.barrier();
  return true;
});
