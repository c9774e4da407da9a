/** `real quickstart` with the tiny preset: killed in the middle, finished by a second start, never run over. */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { readCheckpointDir } from '@realhf/model/node';
import { expect, it } from 'vitest';
import { z } from 'zod';

import { useReal, type RealProcess } from './real-process.js';
import { finish, metricsLines } from './resume-suite.js';
import { useFolder } from './tiny.js';

const cwd = useFolder();
const start = useReal();
const quickstart = (...words: string[]): RealProcess =>
  start(['quickstart', '--preset', 'tiny', '--out', 'out', ...words], { cwd });

const summarySchema = z.strictObject({
  adapter: z.string().min(1),
  seed: z.literal(1),
  seconds: z.number().positive(),
  steps: z.literal(12),
  scoreBefore: z.number().min(-1).max(1),
  scoreAfter: z.number().min(-1).max(1),
  scoreGainCi95: z.tuple([z.number(), z.number()]),
  rewardBefore: z.number(),
  rewardAfter: z.number(),
  klPerToken: z.number(),
  klCap: z.number().positive(),
  distinct4Ratio: z.number().positive(),
  heldOutPrompts: z.literal(256),
  secondsPerMfc: z.record(z.string(), z.number().positive()),
});
const sampleSchema = z.strictObject({
  id: z.string(),
  prompt: z.string(),
  before: z.string(),
  after: z.string(),
  scoreBefore: z.number(),
  scoreAfter: z.number(),
});

/** Names, sizes and times of everything below a folder. */
function listing(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const { size, mtimeMs } = statSync(join(dir, name));
      return `${name} ${size} ${mtimeMs}`;
    });
}

it('goes on after a kill, finishes, and is then left alone', async () => {
  const out = join(cwd, 'out');
  const killed = quickstart();
  const ppo = join(out, 'runs/quickstart/ppo');
  while (killed.running && metricsLines(ppo).length < 2)
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  killed.kill('SIGKILL');
  expect(await killed.ended, killed.stderr).toBe('SIGKILL');
  expect(readdirSync(out)).not.toContain('summary.json');

  const other = quickstart('--seed', '2');
  expect(await other.ended).toBe(2);
  expect(other.stderr).toMatch(/^real: .*out holds a quickstart with seed=1 preset=tiny; go on/);

  const again = quickstart();
  await finish(again);
  expect(again.stderr).toMatch(/\/ppo: 3 steps, [^\n]*\nresumed from step [12]\n/);
  expect(again.stderr).toContain(`report: ${join(out, 'report.html')}\n`);

  const summary = summarySchema.parse(JSON.parse(readFileSync(join(out, 'summary.json'), 'utf8')));
  const [low, high] = summary.scoreGainCi95;
  const gain = summary.scoreAfter - summary.scoreBefore;
  expect(low).toBeLessThanOrEqual(gain);
  expect(high).toBeGreaterThanOrEqual(gain);
  const lines = readFileSync(join(out, 'samples.jsonl'), 'utf8').trimEnd().split('\n');
  const samples = lines.map((line) => sampleSchema.parse(JSON.parse(line)));
  expect(samples).toHaveLength(256);
  expect(new Set(samples.map((s) => s.id)).size).toBe(256);
  const report = readFileSync(join(out, 'report.html'), 'utf8');
  expect(report).toContain('</html>');
  expect(report).not.toMatch(/NaN|undefined|https?:\/\/(?!www\.w3\.org)/);
  const model = await readCheckpointDir(join(out, 'model'));
  const names: string[] = [];
  await model.load((name, full) => {
    names.push(name);
    expect(full.every(Number.isFinite)).toBe(true);
  });
  await model.close();
  expect(names).toContain('0.wte.weight');
  expect(readdirSync(join(out, 'model'))).toContain('tokenizer.json');

  const before = listing(out);
  const third = quickstart();
  expect(await third.ended).toBe(2);
  expect(third.stderr).toMatch(/^real: [^\n]*holds a finished quickstart[^\n]*--out\n$/);
  expect(listing(out)).toEqual(before);
});

it('refuses folders that are not its own', async () => {
  const refused = async (prepare: (dir: string) => void, message: RegExp) => {
    const dir = join(cwd, 'foreign');
    mkdirSync(dir, { recursive: true });
    prepare(dir);
    const before = listing(dir);
    const process = start(['quickstart', '--out', 'foreign'], { cwd });
    expect(await process.ended).toBe(2);
    expect(process.stderr).toMatch(message);
    expect(listing(dir)).toEqual(before);
  };
  await refused((dir) => {
    writeFileSync(join(dir, 'thesis.tex'), '…');
  }, /^real: [^\n]*foreign is not empty and holds no quickstart; choose[^\n]*\n$/);
  await refused((dir) => {
    writeFileSync(join(dir, 'quickstart.json'), '{"quick');
  }, /^real: [^\n]*quickstart\.json is not what a quickstart writes[^\n]*\n$/);
  const file = start(['quickstart', '--out', 'foreign/thesis.tex'], { cwd });
  expect(await file.ended).toBe(2);
  expect(file.stderr).toMatch(/^real: [^\n]*thesis\.tex is not a folder[^\n]*\n$/);
});
