/** `ppo-table RUN…`: seconds of each call in the newest step of runs, from their Chrome traces. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

import { z } from 'zod';

const traceSchema = z.object({
  traceEvents: z.array(
    z.looseObject({
      name: z.string(),
      ph: z.string(),
      ts: z.number().optional(),
      dur: z.number().optional(),
      args: z.looseObject({ step: z.number().optional() }).optional(),
    }),
  ),
});

for (const run of process.argv.slice(2)) {
  const { traceEvents } = traceSchema.parse(
    JSON.parse(readFileSync(join(run, 'trace.json'), 'utf8')),
  );
  const calls = traceEvents.filter((e) => e.ph === 'X');
  const step = Math.max(...calls.map((e) => e.args!.step!));
  // The worker that takes longest.
  const longest = new Map<string, number>();
  for (const e of calls.filter((c) => c.args!.step === step))
    longest.set(e.name, Math.max(longest.get(e.name) ?? 0, e.dur! / 1e6));
  const last = calls.filter((c) => c.args!.step === step);
  const whole =
    (Math.max(...last.map((e) => e.ts! + e.dur!)) - Math.min(...last.map((e) => e.ts!))) / 1e6;
  const parts = [...longest].map(([name, s]) => `${name} ${s.toFixed(2)}`);
  console.log(`${basename(run)}, step ${step}: ${whole.toFixed(2)} s; ${parts.join(', ')}`);
}
