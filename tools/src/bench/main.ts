/**
 * `npm run bench`: times every kernel that has an `x.bench.ts` beside it. Prints the median of several rounds; within a
 * file the rounds of all its benches alternate, so that a clock or a neighbour that changes meanwhile hits all alike.
 */
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { Recorder } from '@realhf/backends';
import { adapterChoices, openGpu } from '@realhf/backends/node';

import type { Bench } from '../../../packages/backends/src/testing/bench.js';
import { median, timeRounds, type Timing } from './timing.js';

const ops = 'packages/backends/src/ops';
const help = `npm run bench -- [--adapter ${adapterChoices.join('|')}] [--only TEXT] [--rounds N] [--json FILE]
  --adapter  default $REALHF_ADAPTER, else the best there is
  --only     benches whose name contains this
  --rounds   rounds per bench, of which the median counts; default 7
  --json     writes adapter and timings to a file too`;

export async function main(root: string, args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      adapter: { type: 'string' },
      only: { type: 'string', default: '' },
      rounds: { type: 'string', default: '7' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(help);
    return 0;
  }
  const rounds = Number(values.rounds);
  const adapter = adapterChoices.find((c) => c === values.adapter);
  const badAdapter = values.adapter !== undefined && adapter === undefined;
  if (badAdapter || !Number.isInteger(rounds) || rounds < 1) {
    console.error(help);
    return 2;
  }
  const gpu = await openGpu({ adapter });
  console.log(`${gpu.adapterName} (${gpu.kind}), median of ${rounds} rounds\n`);
  console.log(row('kernel', 'ms', 'GFLOP/s', 'GB/s'));
  const results: (Timing & { readonly file: string })[] = [];
  const recorder = new Recorder({
    device: gpu.device,
    adapter: gpu.adapterName,
    isCpu: gpu.isCpu,
  });
  for (const file of benchFiles(root)) {
    const benches = (await loadBenches(file)).filter((b) => b.name.includes(values.only));
    if (benches.length === 0) continue;
    for (const timing of await timeRounds(recorder, benches, rounds, gpu.isCpu ? 0 : 1500)) {
      const { name, seconds, flops, bytes } = timing;
      const ms = median(seconds) * 1000;
      console.log(row(name, ms.toPrecision(3), rate(flops, ms), rate(bytes, ms)));
      results.push({ file, ...timing });
    }
    // Benches free nothing; the next file starts with an empty pool.
    recorder.pool.destroy();
  }
  recorder.destroy();
  if (values.json !== undefined) {
    const { adapterName, kind, driver } = gpu;
    const report = { date: new Date().toISOString(), adapterName, kind, driver, results };
    writeFileSync(values.json, `${JSON.stringify(report, null, 1)}\n`);
  }
  return results.length > 0 ? 0 : 1;
}

function benchFiles(root: string): string[] {
  return readdirSync(join(root, ops), { recursive: true, encoding: 'utf8' })
    .filter((f) => f.endsWith('.bench.ts'))
    .sort()
    .map((f) => `${ops}/${f}`);
}

async function loadBenches(file: string): Promise<readonly Bench[]> {
  const { benches } = (await import(`/${file}`)) as { benches?: readonly Bench[] };
  if (!benches) throw new Error(`${file} exports no 'benches'`);
  return benches;
}

function rate(amount: number | undefined, ms: number): string {
  return amount === undefined ? '' : (amount / ms / 1e6).toPrecision(3);
}

function row(name: string, ...cells: readonly string[]): string {
  return name.padEnd(64) + cells.map((c) => c.padStart(10)).join('');
}
