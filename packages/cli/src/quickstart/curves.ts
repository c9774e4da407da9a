/** Curves of the stages, from their metrics.jsonl: they survive a resume. */
import { readFileSync } from 'node:fs';

import { z } from 'zod';

const record = z.object({
  stats: z.record(z.string(), z.record(z.string(), z.number().nullable())),
  seconds: z.record(z.string(), z.number()),
});

export interface Curves {
  readonly reward: readonly number[];
  readonly kl: readonly number[];
  readonly entropy: readonly number[];
  readonly length: readonly number[];
  readonly sftLoss: readonly number[];
  readonly rewardAccuracy: readonly number[];
  /** Summed over steps, all stages. */
  readonly secondsPerMfc: Readonly<Record<string, number>>;
  readonly steps: number;
}

export function readCurves(paths: { sft: string; rw: string; ppo: string }): Curves {
  const read = (path: string) =>
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => record.parse(JSON.parse(line)));
  const [sft, rw, ppo] = [read(paths.sft), read(paths.rw), read(paths.ppo)];
  const pick = (records: typeof sft, mfc: string, stat: string) =>
    records.map((r) => r.stats[mfc]?.[stat] ?? NaN);
  const secondsPerMfc: Record<string, number> = {};
  for (const r of [...sft, ...rw, ...ppo])
    for (const [mfc, s] of Object.entries(r.seconds))
      secondsPerMfc[mfc] = (secondsPerMfc[mfc] ?? 0) + s;
  return {
    reward: pick(ppo, 'actor_train', 'task_reward'),
    kl: pick(ppo, 'actor_train', 'kl'),
    entropy: pick(ppo, 'actor_train', 'entropy'),
    length: pick(ppo, 'actor_train', 'avg_seq_len'),
    sftLoss: pick(sft, 'trainDefault', 'loss'),
    rewardAccuracy: pick(rw, 'rwTrain', 'acc'),
    secondsPerMfc,
    steps: sft.length + rw.length + ppo.length,
  };
}
